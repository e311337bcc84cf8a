"""`trajectory`: rewards over the checkpoints of a training."""
