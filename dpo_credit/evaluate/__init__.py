"""Whether the credit is right: labelled errors, baselines, agreement."""
