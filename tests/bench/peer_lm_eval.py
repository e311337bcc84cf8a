"""lm-eval-harness: `HFLM.loglikelihood` of both models, with the end token as part of the continuation."""

from __future__ import annotations

import logging

from contender import Contender, Missing, Setting

INSTALL = "pip install lm-eval requests"


def lm_eval(setting: Setting) -> Contender:
    try:
        from lm_eval.api.instance import Instance
        from lm_eval.models.huggingface import HFLM
    except ImportError as error:
        raise Missing(INSTALL) from error
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    sides = [HFLM(pretrained=model, tokenizer=setting.tokenizer, batch_size=1) for model in setting.models]
    end = setting.tokenizer.eos_token
    requests = [
        Instance("loglikelihood", {}, (example.prompt, example.answer + end), 0) for example in setting.examples
    ]

    def run(answers: int, size: int) -> list[float]:
        sums = []
        for side in sides:
            side.batch_size_per_gpu = size
            sums.append([logp for logp, _ in side.loglikelihood(requests[:answers], disable_tqdm=True)])
        return [policy - reference for policy, reference in zip(*sums, strict=True)]

    return Contender("lm-eval loglikelihood", run, 1)
