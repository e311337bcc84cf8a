"""Which denoisers score pictures, and at which noise: options that the commands on pictures share."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated, Literal

from dpo_credit.cli.flags import flag, option, seed_option
from dpo_credit.cli.options import Config, Device, Revision
from dpo_credit.cli.talk import Talk
from dpo_credit.credit import CreditError
from dpo_credit.extras import optional

if TYPE_CHECKING:
    from dpo_credit.image.denoiser import DenoiserPair
    from dpo_credit.image.scoring import Sampling

_option = partial(option, panel="Models")


@dataclass(frozen=True)
class DenoiserOptions:
    """Which models score, and how they are loaded."""

    pair: Annotated[
        Literal["shapes"] | None,
        _option("--pair", help="The pair of the package: drawings of shapes, 32 x 32.", show_default="shapes"),
    ] = None
    policy: Annotated[
        str | None,
        _option(
            *("--policy", "--model", "-m"),
            help="The Diffusion-DPO model: a pipeline, its UNet alone, or a LoRA; a directory or a hub name.",
            show_default="that of the pair",
        ),
    ] = None
    reference: Annotated[
        str | None,
        _option(
            *("--reference", "--ref-model", "-r"),
            help="The pipeline it was trained from.",
            show_default="that of the pair",
        ),
    ] = None
    beta: Annotated[
        float | None,
        _option(
            "--beta",
            help="beta_dpo of the policy's training.",
            show_default="what its training left beside it, else 5000",
        ),
    ] = None
    device: Device = "auto"
    dtype: Annotated[
        Literal["auto", "float32", "bfloat16", "float16"],
        _option("--dtype", help="auto is float32: rewards are small differences of errors. The VAE is float32 always."),
    ] = "auto"
    revision: Revision = None
    config: Config = None

    def load(self, talk: Talk) -> DenoiserPair:
        """The pair, with what there is to say about it.

        Raises:
            CreditError: it cannot be loaded, --pair and --policy name two, or diffusers is not installed.
        """
        if self.pair is not None and (self.policy is not None or self.reference is not None):
            raise CreditError(f"--pair {self.pair} names both models. Leave it out, or --policy and --reference.")
        optional("diffusers", "dpo-credit image", extra="image")
        from dpo_credit.image.loading import load_denoisers
        from dpo_credit.models.pair import Loading

        loading = Loading(device=self.device, dtype=self.dtype, revision=self.revision)
        with talk.working("Loading the models"):
            pair = load_denoisers(self.policy, self.reference, beta=self.beta, loading=loading)
        talk.notes(pair.notes)
        return pair


@dataclass(frozen=True)
class SamplingOptions:
    """At which noise pictures are scored."""

    steps: Annotated[int, option("--steps", min=1, help="Timesteps, spread evenly over the training's.")] = 10
    draws: Annotated[int, option("--draws", min=1, help="Draws of noise at each.")] = 4
    seed: Annotated[int, seed_option("Of the noise, which both models and both pictures get.")] = 0
    resize: Annotated[
        bool, flag("--resize", help="Scale and crop pictures to the size that the models were trained on.")
    ] = False

    @property
    def sampling(self) -> Sampling:
        """As the library takes them."""
        from dpo_credit.image.scoring import Sampling

        return Sampling(self.steps, self.draws, self.seed, self.resize)
