"""Generating answers with what a DPO pair knows: steering a base model (Eq. 14)."""
