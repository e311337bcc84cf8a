"""`report`: a scored data set in figures, without a model."""

import sys

from dpo_credit.shown import Called

sys.modules[__name__].__class__ = Called
