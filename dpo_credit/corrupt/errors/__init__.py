"""The kinds of error that a right answer can be given: each module finds the changes of one kind in a passage.

A finder is pure: it yields every change it knows, and `dpo_credit.corrupt.corrupt` draws among them.
"""
