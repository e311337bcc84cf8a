"""`report`: a scored data set in figures, without a model.

report(rows)    as `dpo_credit.report.report.report`, which says what it takes
"""

import sys

from dpo_credit.shown import Called

sys.modules[__name__].__class__ = Called
