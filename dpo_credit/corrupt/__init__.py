"""`corrupt`: right answers made wrong, with the wrong spans labelled."""
