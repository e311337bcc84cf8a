"""Scored rows in the shapes that other programs read."""
