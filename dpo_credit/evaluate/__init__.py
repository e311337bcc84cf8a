"""Measurements on what a pair has scored."""
