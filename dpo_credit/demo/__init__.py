"""The embedded pair: a small policy and its reference, and the generated world that they come from."""
