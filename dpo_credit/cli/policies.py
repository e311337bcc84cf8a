"""Which policies of an MDP score, and what of their log-probabilities is credit: options of `dpo-credit mdp`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from dpo_credit.cli.flags import flag, option
from dpo_credit.credit import CreditError

if TYPE_CHECKING:
    from dpo_credit.mdp.credit import Weights
    from dpo_credit.mdp.policies import Policy

EMBEDDED = Path(__file__).parents[1] / "demo" / "grid" / "policy.safetensors"
_option = partial(option, panel="Models")


@dataclass(frozen=True)
class PolicyOptions:
    """Which policies give actions their log-probabilities, and what of these is credit."""

    policy: Annotated[
        str | None,
        _option(
            *("--policy", "-m"),
            help="FILE.safetensors of a small network; or FILE.py:NAME, whose code is run.",
            show_default="the embedded grid's",
        ),
    ] = None
    weights: Annotated[
        str | None, _option("--weights", metavar="FILE", help="safetensors of FILE.py's module.", show_default=False)
    ] = None
    reference: Annotated[
        str | None,
        _option(*("--reference", "-r"), help="Likewise, what the policy was trained from.", show_default="none"),
    ] = None
    reference_weights: Annotated[
        str | None, _option("--reference-weights", metavar="FILE", help="Likewise, of its module.", show_default=False)
    ] = None
    checkpoints: Annotated[
        str | None,
        _option(
            "--checkpoints",
            metavar="PATTERN",
            help="Files of a training, in quotes, to follow as dpo-credit trajectory does: policies, or weights.",
            show_default=False,
        ),
    ] = None
    alpha: Annotated[float, _option("--alpha", help="CPL's temperature, the one the policy was trained with.")] = 0.1
    gamma: Annotated[float, _option("--gamma", help="The discount of its sums over steps.")] = 1.0
    bias: Annotated[
        float, _option("--bias", help="Of the rejected segment's sum in the preference probability (its lambda).")
    ] = 1.0
    length_normalised: Annotated[
        bool,
        flag(
            *("--length-normalised", "--length-normalized"),
            panel="Models",
            help="Divide a segment's credit by its steps.",
        ),
    ] = False
    actions: Annotated[
        str | None,
        _option("--actions", metavar="A,B,...", help="What discrete actions are called.", show_default="the policy's"),
    ] = None

    def at(self, path: str | None = None) -> Policy:
        """The policy, or that of a checkpoint.

        Raises:
            CreditError: there is none.
        """
        from dpo_credit.mdp.loading import load_policy
        from dpo_credit.mdp.policies import load_mlp

        if path is None:
            if self.policy is None:
                return replace(load_mlp(EMBEDDED), name="embedded")
            return load_policy(self.policy, self.weights)
        code = self.policy is not None and not self.policy.endswith(".safetensors")
        return load_policy(self.policy, path) if code and self.policy is not None else load_policy(path)

    def loaded_reference(self) -> Policy | None:
        """The reference, if one is named.

        Raises:
            CreditError: there is none.
        """
        from dpo_credit.mdp.loading import load_policy

        if self.reference is None:
            if self.reference_weights is not None:
                raise CreditError("--reference-weights go with --reference FILE.py:NAME.")
            return None
        return load_policy(self.reference, self.reference_weights)

    @property
    def of_loss(self) -> Weights:
        """Alpha and what goes with it.

        Raises:
            CreditError: a number is out of range.
        """
        from dpo_credit.mdp.credit import Weights

        return Weights(self.alpha, self.gamma, self.bias, self.length_normalised)
