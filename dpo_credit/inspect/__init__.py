"""`inspect`: what exactly is scored, and whether the two models belong together."""
