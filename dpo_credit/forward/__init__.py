"""Tokens and a torch module -> log-probabilities. The one place where numbers leave torch."""
