"""`localise`: whether the reward finds the wrong tokens of labelled answers."""

import sys

from dpo_credit.shown import Called

sys.modules[__name__].__class__ = Called
