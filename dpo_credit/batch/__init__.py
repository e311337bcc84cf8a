"""`batch`: rows of any number scored chunk by chunk, safe to interrupt."""
