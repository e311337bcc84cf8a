"""The pairs of the package, and what they come from: a generated world (the embedded pair), natural posts (smollm2)."""
