"""A tokenizer's own patterns: one that tries too often ends with a line that names the model's folder."""

from __future__ import annotations

import pytest
from tiny import tokenizer
from tokenizers import Regex, normalizers, pre_tokenizers

from dpo_credit.credit import CreditError, Example
from dpo_credit.text.encode import encode


@pytest.mark.parametrize("part", ["pre_tokenizer", "normalizer"])
def test_a_pattern_that_explodes_is_one_line(part: str) -> None:
    made = tokenizer()
    made.name_or_path = "models/evil"
    explodes = Regex("(a+)+b")
    if part == "pre_tokenizer":
        before = pre_tokenizers.Split(explodes, "isolated")
        made.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence([before, made.backend_tokenizer.pre_tokenizer])
    else:
        made.backend_tokenizer.normalizer = normalizers.Replace(explodes, "c")
    assert encode(made, Example("a", " aaa.")).answer == " aaa."
    with pytest.raises(
        CreditError, match=r"the tokenizer of models/evil gives up on this text: .*retry-limit-in-match"
    ):
        encode(made, Example("a", " " + "a" * 60 + "c"))
