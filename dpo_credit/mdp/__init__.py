"""Credit in any MDP: what a policy trained on preferences between segments makes of each of their steps."""
