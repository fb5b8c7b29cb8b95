"""Muon: momentum whose every matrix is brought near to an orthogonal one before it is applied.

After K. Jordan et al., "Muon: An optimizer for hidden layers in neural networks" (2024). torch's
own works in bfloat16, which this project's CPUs only imitate.
"""

from collections.abc import Iterable

import torch
from torch import Tensor

# The quintic a x + b x^3 + c x^5 draws all singular values towards 1, the small ones fast.
_QUINTIC = (3.4445, -4.7750, 2.0315)
_ROUNDS = 5
_MOMENTUM = 0.95


class Muon(torch.optim.Optimizer):
    """For matrices; `rate` is a step's length for a square one."""

    def __init__(self, matrices: Iterable[Tensor], rate: float, weight_decay: float) -> None:
        super().__init__(matrices, {"lr": rate, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self) -> None:
        """One step along the gradients."""
        for group in self.param_groups:
            for weight in group["params"]:
                self._move(weight, group["lr"], group["weight_decay"])

    def _move(self, weight: Tensor, rate: float, decay: float) -> None:
        state = self.state[weight]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(weight)
        momentum = state["momentum"].lerp_(weight.grad, 1 - _MOMENTUM)
        direction = orthogonal(weight.grad.lerp(momentum, _MOMENTUM))
        longer = max(1.0, weight.shape[0] / weight.shape[1]) ** 0.5
        weight.mul_(1 - rate * decay).add_(direction, alpha=-rate * longer)


def orthogonal(matrix: Tensor) -> Tensor:
    """A matrix with the same singular vectors whose singular values are all near 1."""
    a, b, c = _QUINTIC
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix
    x = x / (x.norm() + 1e-7)
    for _ in range(_ROUNDS):
        square = x @ x.T
        x = a * x + (b * square + c * square @ square) @ x
    return x.T if tall else x
