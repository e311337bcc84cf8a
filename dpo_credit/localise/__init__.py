"""`localise`: whether the reward finds the wrong tokens of labelled answers.

localise(pair, rows)    as `dpo_credit.localise.localise.localise`, which says what it takes
"""

import sys

from dpo_credit.shown import Called

sys.modules[__name__].__class__ = Called
