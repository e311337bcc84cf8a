"""Several policies on the same answers: their rewards token by token, and how far they agree over a data set."""
