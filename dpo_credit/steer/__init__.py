"""`steer`: decoding from a base model re-weighted by a pair."""
