"""`verify`: whose numbers ours agree with, and under which convention."""
