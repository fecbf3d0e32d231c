"""The loop for weights and architecture: first-order steps, turn and turn about.

Per cycle (PMPL 1.2, first order, one inner step):
    α ← Adam(∇_α L(w, α)) on the α split;   w ← SGD(∇_w L(w, α)) on the weights split
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rfsearch.data.augmentation import Augmentation
from rfsearch.data.images import Images
from rfsearch.errors import UserError
from rfsearch.operators.blend import one_draw
from rfsearch.training.batches import epoch_batches
from rfsearch.training.calibration import calibrated_cross_entropy
from rfsearch.training.fit import Descent, Tick
from rfsearch.training.prefix import remembered
from rfsearch.training.shares import ALONE, Shares
from rfsearch.training.statistics import norms_of, still
from rfsearch.training.tally import Tally

if TYPE_CHECKING:
    from rfsearch.backbones.supernet import Supernet

Gradients = dict[str, Tensor]


Loss = Callable[[Tensor, Tensor], Tensor]
"""Logits (N, classes) and labels (N,) to a scalar."""
Batch = tuple[Tensor, Tensor]
"""Images and labels."""
Objective = Callable[[nn.Module], Tensor]
"""A network, which it runs on a batch, to a scalar."""

ALPHA_LOSSES: dict[str, Callable[..., Tensor]] = {
    "calibrated": calibrated_cross_entropy,
    "plain": F.cross_entropy,
}
"""Each takes weights of classes third."""


class AlphaDescent:
    """Adam on α alone; the weights and BatchNorm's running statistics are left as they are.

    Of several processes each has its own losses, or those of all images, and α goes down their
    mean: it is the same in all of them, bit for bit.
    """

    def __init__(
        self,
        supernet: Supernet,
        lr: float,
        betas: tuple[float, float],
        weight_decay: float,
        shares: Shares = ALONE,
    ) -> None:
        self.supernet = supernet
        self.norms = nn.ModuleList(norms_of(supernet))  # to look for them takes as long as a pass
        self.shares = shares
        self.optimizer = torch.optim.Adam(
            supernet.alphas().values(), lr=lr, betas=betas, weight_decay=weight_decay
        )

    def loss(self, objective: Objective) -> Tensor:
        """The objective, by the batch's own statistics."""
        with still(self.norms):
            loss = objective(self.supernet)
        if not isinstance(loss, Tensor) or loss.numel() != 1:
            told = (
                f"shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else type(loss).__name__
            )
            raise UserError(f"the loss of alpha is a tensor of one number, not {told}")
        return loss

    def gradients(self, objective: Objective) -> tuple[Tensor, Gradients]:
        """The loss, and its gradient by the α of every open slot."""
        alphas = {s: alpha for s, alpha in self.supernet.alphas().items() if alpha.requires_grad}
        with _resting(self.supernet.weights()):
            loss = self.loss(objective)
        gradients = torch.autograd.grad(loss, list(alphas.values()))
        self.shares.average([loss := loss.detach(), *gradients])
        return loss, dict(zip(alphas, gradients, strict=True))

    @torch.no_grad()
    def alone(self, slot: str, objective: Objective) -> tuple[Tensor, Gradients]:
        """The expected loss Σ_k p_k L_k, L_k with candidate k alone in this slot and the others
        mixed as they are, or drawn once for all k where a step draws one candidate, and its
        gradient by the slot's α: p_k (L_k − Σ_j p_j L_j) (ours)."""
        mixture = self.supernet.mixture(slot)
        p = mixture.alpha.softmax(0)
        losses = torch.empty_like(p)
        ends = self.supernet.parts(slot)
        others = [one for one in self.supernet.mixtures.values() if one is not mixture]
        with (
            still(self.norms),
            one_draw(others),
            remembered(self.supernet, ends) as prefix,
        ):
            for k, weights in enumerate(torch.eye(len(p)).to(p)):
                with mixture.handed(weights):
                    losses[k] = self.loss(objective)
                prefix.rewind()
        self.shares.average([losses])
        expected = (p * losses).sum()
        return expected, {slot: p * (losses - expected)}

    def step(self, gradients: Gradients) -> None:
        """One step along these gradients; what weight steps left on α counts for nothing."""
        self.optimizer.zero_grad(set_to_none=True)
        for slot, gradient in gradients.items():
            self.supernet.mixture(slot).alpha.grad = gradient
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)


class Alternation:
    """Epochs over the weights split, with a step on α before every so many steps on weights.

    Args:
        weights, alpha: two disjoint sets of images.
        alpha_batch: images of an α step.
        alpha_every: weight steps for one α step.
    """

    def __init__(
        self,
        supernet: Supernet,
        descent: Descent,
        weights: Images,
        alpha: Images,
        augmentation: Augmentation,
        alpha_batch: int,
        alpha_every: int,
    ) -> None:
        self.supernet = supernet
        self.descent = descent
        self.weights = weights
        self.alpha = alpha
        self.augmentation = augmentation
        self.alpha_batch = alpha_batch
        self.alpha_every = alpha_every
        self.steps = len(weights) // descent.recipe.batch_size
        self.tally = Tally()

    def alpha_batches(self, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches of the α split without end."""
        while True:
            yield from epoch_batches(
                self.alpha, self.augmentation, self.alpha_batch, generator, self.descent.shares
            )

    def epoch(
        self,
        generator: torch.Generator,
        on_alpha: Callable[[Tensor, Tensor], object] | None,
        tick: Tick,
    ) -> dict[str, Any]:
        """One epoch, or what is left of it; ``on_alpha(images, labels)`` takes the α step."""
        tally = self.tally
        tally.begin()
        self.supernet.train()
        for (images, labels), alpha in self._left(generator, on_alpha is not None):
            if on_alpha is not None and alpha is not None:
                tally.alpha += 1
                on_alpha(*alpha)
            tally.add(*self.descent.step(images, labels))
            tick(tally.step, self.steps)
        self.tally = Tally()
        seconds = time.perf_counter() - tally.began
        told = tally.told(self.descent.recipe.batch_size)
        return {**told, "seconds": seconds, "step_seconds": seconds / self.steps}

    def _left(
        self, generator: torch.Generator, turns: bool
    ) -> Iterator[tuple[Batch, Batch | None]]:
        """The batches of weights that are not done, each with one of α where that has its turn."""
        size, done, drawn = self.descent.recipe.batch_size, self.tally.step, self.tally.alpha
        alpha_batches = self.alpha_batches(generator)
        shares = self.descent.shares
        batches = epoch_batches(self.weights, self.augmentation, size, generator, shares)
        for number, batch in enumerate(batches):
            turn = turns and number % self.alpha_every == 0
            if number >= done:
                self.tally.restore()
                yield batch, next(alpha_batches) if turn and self.supernet.open_slots else None
            elif turn and drawn:
                drawn -= 1
                next(alpha_batches)


@contextmanager
def _resting(parameters: Iterable[nn.Parameter]) -> Iterator[None]:
    """Inside, nothing is written down for gradients of these: what comes before the first open
    slot has no backward pass, what comes after it only one to its input."""
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    for parameter in trained:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)
