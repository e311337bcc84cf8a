"""Training with TRL, and what a run's checkpoints tell."""
