"""Muon for the hidden weights and AdamW for the others, as one optimiser."""

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from wgflow.energies.precision import fast_bfloat16

HIDDEN = 16
"""Sides that a weight must have, as a matrix, to be orthogonalised: rank one has no spectrum."""

MOMENTUM = 0.95
"""Decay of the running average of the gradients of hidden weights."""

NEWTON_SCHULZ = (3.4445, -4.775, 2.0315)
"""Coefficients of the quintic iteration that is steepest at zero (Jordan et al. 2024)."""


class Muon(Optimizer):
    """Muon (Jordan et al. 2024) for hidden weights, AdamW for the rest, with one rate for both.

    A weight of shape (out, ...) is a matrix W of out rows, the kernel of a convolution too. With M
    the running average of its gradients, ``W ← W - .2 η √max(out, in) · UVᵀ``, where ``M = USVᵀ``,
    up to the half to three halves that five Newton-Schulz steps leave of each singular value. All
    directions of the gradient move alike, where Adam follows the few largest. The factor gives
    updates the size of Adam's (Liu et al. 2025), so that rates carry over.

    Biases, and weights of fewer than `HIDDEN` rows or columns, such as those to and from pixels,
    learn by AdamW.

    PyTorch's Muon iterates in bfloat16 everywhere, which takes longer than the rest of a learning
    step on processors that are not made for it. This one does so where it is fast, and in the
    type of the weights elsewhere.

    Args:
        parameters: what learns.
        lr: η.
        betas: decays of AdamW's two moments; Muon's is .95, of Nesterov's kind.
        weight_decay: decoupled, per unit of η.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        lr: float,
        betas: tuple[float, float] = (0.9, 0.999),
        weight_decay: float = 0.0,
    ) -> None:
        parameters = list(parameters)
        hidden = [p for p in parameters if is_hidden(p)]
        rest = [p for p in parameters if not is_hidden(p)]
        defaults = {"lr": lr, "weight_decay": weight_decay}
        super().__init__([{"params": hidden}, {"params": rest}], defaults)
        self.adamw = AdamW([{"params": rest}], lr, betas, weight_decay=weight_decay)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step from the gradients."""
        loss = None if closure is None else torch.enable_grad()(closure)()
        hidden, rest = self.param_groups
        for p in hidden["params"]:
            if p.grad is not None:
                self._move(p, p.grad, hidden["lr"], hidden["weight_decay"])
        self.adamw.param_groups[0]["lr"] = rest["lr"]
        self.adamw.step()
        return loss

    def state_dict(self) -> dict[str, Any]:
        """The state of both."""
        return {"muon": super().state_dict(), "adamw": self.adamw.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from the state of both."""
        super().load_state_dict(state_dict["muon"])
        self.adamw.load_state_dict(state_dict["adamw"])

    def _move(self, p: nn.Parameter, grad: Tensor, lr: float, decay: float) -> None:
        state = self.state[p]
        if not state:
            state["momentum"] = torch.zeros_like(p)
        momentum = state["momentum"].lerp_(grad, 1 - MOMENTUM)
        matrix = grad.lerp(momentum, MOMENTUM).flatten(1)
        update = orthogonalised(matrix).reshape(p.shape)
        p.mul_(1 - lr * decay).add_(update, alpha=-0.2 * lr * math.sqrt(max(matrix.shape)))


def is_hidden(p: nn.Parameter) -> bool:
    """Whether a parameter is a matrix of at least `HIDDEN` rows and columns."""
    return p.ndim >= 2 and min(len(p), p[0].numel()) >= HIDDEN


def orthogonalised(matrix: Tensor, steps: int = 5) -> Tensor:
    """Nearly UVᵀ of ``M = USVᵀ``: steps of ``X ← aX + (bA + cA²)X``, ``A = XXᵀ``, from ``M/|M|``.

    Singular values come to lie between a half and three halves, but for those near zero.
    """
    a, b, c = NEWTON_SCHULZ
    x = matrix.bfloat16() if fast_bfloat16(matrix.device) else matrix
    x = x.T if len(x) > x.shape[1] else x
    x = x / x.norm().clamp(min=1e-7)
    for _ in range(steps):
        square = x @ x.T
        x = torch.addmm(x, torch.addmm(square, square, square, beta=b, alpha=c), x, beta=a)
    return (x.T if len(matrix) > matrix.shape[1] else x).to(matrix.dtype)
