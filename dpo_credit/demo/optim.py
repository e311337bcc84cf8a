"""Muon for the hidden matrices and AdamW for everything else, as one optimizer.

Muon: Jordan et al. 2024. `torch.optim.Muon` runs its Newton-Schulz iteration in bfloat16, which is slow on CPUs; this
one runs it in float32.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
NEWTON_SCHULZ_STEPS = 5
MOMENTUM = 0.95


def orthogonalise(matrix: Tensor) -> Tensor:
    """About U V^T for the (m, n) matrix U S V^T, by a quintic Newton-Schulz iteration."""
    a, b, c = NEWTON_SCHULZ
    x = matrix.T if matrix.size(0) > matrix.size(1) else matrix
    x = x / (x.norm() + 1e-7)
    for _ in range(NEWTON_SCHULZ_STEPS):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if matrix.size(0) > matrix.size(1) else x


class MuonAdamW(torch.optim.AdamW):
    """AdamW whose groups marked `muon` take orthogonalised momentum steps instead."""

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One step; learning rates come from the groups, so that schedulers work as usual."""
        groups = self.param_groups
        try:
            self.param_groups = [group for group in groups if not group.get("muon")]
            loss = super().step(closure)
        finally:
            self.param_groups = groups
        for group in groups:
            for weight in group["params"] if group.get("muon") else ():
                if weight.grad is None:
                    continue
                momentum = self.state[weight].setdefault("momentum", torch.zeros_like(weight))
                self.state[weight].setdefault("step", torch.zeros(()))  # AdamW looks for it in a state that it loads
                momentum.lerp_(weight.grad, 1 - MOMENTUM)
                # of a convolution: its outputs by its inputs in all places of the kernel
                update = orthogonalise(weight.grad.lerp(momentum, MOMENTUM).flatten(1))
                scale = max(1.0, update.size(0) / update.size(1)) ** 0.5
                weight.add_(update.view_as(weight), alpha=-group["lr"] * scale)
        return loss


def muon_adamw(model: nn.Module, muon_lr: float, adamw_lr: float) -> MuonAdamW:
    """Muon on the matrices of the layers, AdamW (no weight decay) on embeddings, norms and biases."""
    weights = list(model.named_parameters())
    hidden = [weight for name, weight in weights if weight.ndim == 2 and ".layers." in name]
    rest = [weight for name, weight in weights if not (weight.ndim == 2 and ".layers." in name)]
    groups = [{"params": hidden, "lr": muon_lr, "muon": True}, {"params": rest, "lr": adamw_lr}]
    return MuonAdamW(groups, betas=(0.9, 0.98), weight_decay=0.0)
