"""`localise`: whether the reward finds the wrong tokens of labelled answers."""
