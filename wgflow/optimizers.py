"""Muon for the hidden weights and AdamW for the others, as one optimiser."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn
from torch.optim import AdamW, Optimizer

HIDDEN = 16
"""Sides that a weight must have, as a matrix, to be orthogonalised: rank one has no spectrum."""


class Muon(Optimizer):
    """Muon (Jordan et al. 2024) for hidden weights, AdamW for the rest, with one rate for both.

    A weight of shape (out, ...) is a matrix W of out rows, the kernel of a convolution too. With M
    the running average of its gradients, ``W ← W - .2 η √max(out, in) · UVᵀ``, where ``M = USVᵀ``,
    up to the half to three halves that five Newton-Schulz steps leave of each singular value. All
    directions of the gradient move alike, where Adam follows the few largest. The factor gives
    updates the size of Adam's (Liu et al. 2025), so that rates carry over.

    Biases, and weights of fewer than `HIDDEN` rows or columns, such as those to and from pixels,
    learn by AdamW.

    Args:
        parameters: what learns; weights whose memory is not in the order of their axes are
            refused.
        lr: η.
        betas: decays of AdamW's two moments; Muon's is .95, of Nesterov's kind.
        weight_decay: decoupled, per unit of η.

    Raises:
        ValueError: a hidden weight is not contiguous.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        lr: float,
        betas: tuple[float, float] = (0.9, 0.999),
        weight_decay: float = 0.0,
    ):
        parameters = list(parameters)
        hidden = [p for p in parameters if is_hidden(p)]
        rest = [p for p in parameters if not is_hidden(p)]
        super().__init__([{"params": hidden}, {"params": rest}], {"lr": lr})
        self.matrices = [as_matrix(p) for p in hidden]  # the same memory
        self.muon = torch.optim.Muon(
            [{"params": self.matrices}],
            lr,
            weight_decay=weight_decay,
            adjust_lr_fn="match_rms_adamw",
        )
        self.adamw = AdamW([{"params": rest}], lr, betas, weight_decay=weight_decay)

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step from the gradients."""
        loss = None if closure is None else torch.enable_grad()(closure)()
        for matrix, p in zip(self.matrices, self.param_groups[0]["params"], strict=True):
            matrix.grad = None if p.grad is None else p.grad.reshape(matrix.shape)
        for part in self._parts().values():
            part.step()
        return loss

    def state_dict(self) -> dict[str, Any]:
        """The state of both."""
        return {name: part.state_dict() for name, part in self._parts().items()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from the state of both."""
        for group, (name, part) in zip(self.param_groups, self._parts().items(), strict=True):
            part.load_state_dict(state_dict[name])
            group["lr"] = part.param_groups[0]["lr"]

    def _parts(self) -> dict[str, Optimizer]:
        """Both optimisers, at the rates that a scheduler has given to the groups."""
        parts: dict[str, Optimizer] = {"muon": self.muon, "adamw": self.adamw}
        for group, part in zip(self.param_groups, parts.values(), strict=True):
            part.param_groups[0]["lr"] = group["lr"]
        return parts


def is_hidden(p: nn.Parameter) -> bool:
    """Whether a parameter is a matrix of at least `HIDDEN` rows and columns."""
    return p.ndim >= 2 and min(len(p), p[0].numel()) >= HIDDEN


def as_matrix(p: nn.Parameter) -> nn.Parameter:
    """The parameter as a matrix in the same memory."""
    if not p.is_contiguous():
        raise ValueError(
            "Muon learns weights as matrices: expected weights contiguous in memory, got shape "
            f"{tuple(p.shape)} with strides {p.stride()}."
        )
    return nn.Parameter(p.detach().view(len(p), -1))
