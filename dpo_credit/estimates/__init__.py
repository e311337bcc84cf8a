"""Means, intervals and tests on them."""
