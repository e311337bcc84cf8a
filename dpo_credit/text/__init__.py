"""Rows become tokens: where a prompt ends, which characters each token owns, what kind of token it is. Never torch."""
