"""Ways to look at a Credit. Plain functions; all take their colours from `scale`."""
