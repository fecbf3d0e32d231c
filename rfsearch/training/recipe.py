"""How a network is trained: the same for every network that is compared."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor, nn

from rfsearch.setting import check, setting

CLASS_WEIGHTS = ("none", "balanced")
NOT_FINITE = ("stop", "skip")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Nesterov SGD on a one-cycle schedule, gradients clipped (PMPL's code clips at 5)."""

    lr: float = setting(0.03, "largest learning rate of the weights", above=0)
    momentum: float = setting(0.9, "Nesterov momentum", least=0, below=1)
    weight_decay: float = setting(5e-4, "weight decay of the weights", least=0)
    warmup: float = setting(
        0.05, "share of the steps in which the learning rate rises", least=0, below=1
    )
    clip: float = setting(5.0, "largest norm of the gradient", above=0)
    label_smoothing: float = setting(0.0, "label smoothing of the training loss", least=0, below=1)
    class_weights: str = setting(
        "none",
        "in the losses of weights and of alpha: none, or balanced, rare classes as much as others "
        "in all",
        among=CLASS_WEIGHTS,
    )
    batch_size: int = setting(32, "images a step; batch normalisation compares them", least=2)
    not_finite: str = setting(
        "stop",
        "what a loss or gradient that is NaN or infinite does: stop, or skip, which leaves the "
        "step out",
        among=NOT_FINITE,
    )

    def __post_init__(self) -> None:
        check(self, "recipe")

    def weights_of(self, labels: Tensor, classes: int) -> Tensor | None:
        """Weight of each class, float32 (classes,), by how often it is among labels (N,): N over
        the classes and the images of the class; None where all images weigh the same."""
        if self.class_weights == "none":
            return None
        counts = torch.bincount(labels, minlength=classes).clamp(min=1)
        return len(labels) / (classes * counts.float())

    def weighing(self, loss: Callable[..., Tensor], labels: Tensor) -> Callable[..., Tensor]:
        """A loss of logits (N, classes) and labels (N,) in which classes weigh what the recipe
        says.

        Args:
            loss: takes the weights (classes,) third, or None.
            labels: of all images that are trained on.
        """
        weights = cache(lambda classes: self.weights_of(labels, classes))
        return lambda logits, batch: loss(logits, batch, weights(logits.shape[1]))

    def optimizer(self, parameters: Iterable[nn.Parameter]) -> torch.optim.SGD:
        """The optimizer of the weights."""
        return torch.optim.SGD(
            parameters,
            lr=self.lr,
            momentum=self.momentum,
            nesterov=True,
            weight_decay=self.weight_decay,
            fused=True,  # a twentieth of a small network's step on the CPU
        )

    def schedule(
        self, optimizer: torch.optim.Optimizer, steps: int
    ) -> torch.optim.lr_scheduler.OneCycleLR:
        """The learning rate over ``steps`` steps."""
        return torch.optim.lr_scheduler.OneCycleLR(
            optimizer,
            max_lr=self.lr,
            total_steps=steps,
            # A rise of exactly one step would be divided by its zero length.
            pct_start=self.warmup if self.warmup * steps > 1 else 0.0,
            cycle_momentum=False,
        )
