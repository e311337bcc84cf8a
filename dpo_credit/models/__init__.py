"""The two sides that scoring needs: where their files are, how they load, what they can do."""
