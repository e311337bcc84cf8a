"""`report`: a scored data set in figures, without a model."""
