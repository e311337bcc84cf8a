"""Rows of a scored data set, chosen by what their answers earned."""
