"""`search`: the answers that beam search finds in a policy, and who judges them."""
