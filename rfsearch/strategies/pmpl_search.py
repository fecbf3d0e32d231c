"""PMPL as a strategy: epochs over the weights split, α's steps between them, the deadline, and
the adaptation of the weights under the frozen choice. What α does stands in `pmpl`."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from rfsearch.backbones.supernet import Supernet
from rfsearch.data.augmentation import Augmentation
from rfsearch.data.images import Images, SearchSplits
from rfsearch.seeds import stream
from rfsearch.spaces import Choice
from rfsearch.strategies.freezing import Watch
from rfsearch.strategies.pmpl import PMPL
from rfsearch.strategies.pmpl_settings import PMPLSettings
from rfsearch.training.alternate import ALPHA_LOSSES, Alternation, Gradients, Objective
from rfsearch.training.batches import epoch_batches, plain_batches
from rfsearch.training.evaluation import accuracy
from rfsearch.training.fit import Descent, NotFinite, Tick, silent
from rfsearch.training.randomness import seeded
from rfsearch.training.recipe import Recipe
from rfsearch.training.shares import shares_of
from rfsearch.training.statistics import settled
from rfsearch.training.tally import Tally

if TYPE_CHECKING:
    from lightning_fabric import Fabric

MASKING_BATCH = 200
"""Images of the selection split behind one set of BatchNorm's statistics."""


@dataclass(frozen=True)
class Stages:
    """Epochs of the search: α still, α moving, weights alone under the frozen choice."""

    warmup: int
    search: int
    adapt: int

    @property
    def epochs(self) -> int:
        """All of them."""
        return self.warmup + self.search + self.adapt

    def of(self, epoch: int) -> str:
        """The stage of an epoch counted from 0."""
        if epoch < self.warmup:
            return "warmup"
        return "search" if epoch < self.warmup + self.search else "adapt"


class PMPLSearch:
    """One search: `advance` an epoch at a time until `finished`, then `choices` and `network`.

    Args:
        supernet: on its device, freshly initialised.
        splits: weights, α and selection images; nothing leads from here to test data.
        stages: how many epochs of each kind.
        seed: every epoch draws from a stream of its own below it.
    """

    def __init__(
        self,
        supernet: Supernet,
        splits: SearchSplits,
        augmentation: Augmentation,
        recipe: Recipe,
        settings: PMPLSettings,
        stages: Stages,
        *,
        seed: int,
        fabric: Fabric,
    ) -> None:
        self.supernet = supernet
        self.splits = splits
        self.augmentation = augmentation
        self.settings = settings
        self.stages = stages
        self.seed = seed
        self.shares = shares_of(fabric)
        least = max(settings.minimum_epochs, math.ceil(settings.minimum_share * stages.search))
        self.pmpl = PMPL(
            supernet,
            replace(settings, minimum_epochs=least),
            seed=seed,
            loss_without=self.loss_without,
            shares=self.shares,
        )
        self.criterion = recipe.weighing(ALPHA_LOSSES[settings.alpha_loss], splits.alpha.labels)
        steps = stages.epochs * (len(splits.weights) // recipe.batch_size)
        self.descent = Descent(
            supernet,
            supernet.weights(),
            recipe,
            steps,
            fabric,
            splits.weights.labels,
            drawn=settings.blend is not None,
        )
        self.alternation = Alternation(
            supernet,
            self.descent,
            splits.weights,
            self._alpha_images(),
            augmentation,
            settings.alpha_batch,
            settings.alpha_every,
        )

    def _alpha_images(self) -> Images:
        images = self.splits.alpha
        if self.settings.null != "labels":
            return images
        generator = torch.Generator().manual_seed(stream(self.seed, "null"))
        order = torch.randperm(len(images), generator=generator).to(images.labels.device)
        return Images(images.pixels, images.labels[order], images.sources)

    @property
    def epoch(self) -> int:
        """Epochs that are done."""
        return self.pmpl.epoch

    @property
    def finished(self) -> bool:
        """Whether all epochs are done."""
        return self.epoch >= self.stages.epochs

    @property
    def watches(self) -> dict[str, Watch]:
        """What is remembered of every slot."""
        return self.pmpl.watches

    def advance(self, tick: Tick = silent) -> dict[str, Any]:
        """Search one epoch and tell of it (a line of history.jsonl)."""
        stage = self.stages.of(self.epoch)
        with seeded(stream(self.seed, "epoch", self.epoch)) as generator:
            on_alpha = self.alpha_step if stage == "search" else None
            measured = self.alternation.epoch(generator, on_alpha, tick)
        if self.epoch + 1 == self.stages.warmup + self.stages.search:
            self._close()
        head = {"phase": "search", "stage": stage, "epoch": 0, "epochs": self.stages.epochs}
        return {**head, **measured, **self.pmpl.end_epoch()}

    def objective(self, images: Tensor, labels: Tensor) -> Objective:
        """What α goes down on a batch, of which this process has its share of the images."""
        return lambda network: self.criterion(
            self.shares.logits(network, images, len(labels)), labels
        )

    def alpha_step(self, images: Tensor, labels: Tensor) -> float | None:
        """`PMPL.step` on a batch; None where it is left out, as the recipe says."""
        try:
            return self.pmpl.step(self.objective(images, labels))
        except NotFinite:
            if self.descent.recipe.not_finite == "stop":
                raise
            return None

    def alpha_gradients(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Gradients]:
        """`PMPL.gradients` on a batch."""
        return self.pmpl.gradients(self.objective(images, labels))

    @torch.no_grad()
    def loss_without(self, slot: str, candidate: int) -> float:
        """Loss on the selection split with one candidate of a slot masked and the others weighted
        as they are, by the batches' own statistics (after Wang et al., arXiv 2108.04392, who
        mask and measure accuracy; which two are measured, and by loss, is ours)."""
        mixture = self.supernet.mixture(slot)
        p = mixture.alpha.detach().softmax(0)
        p[candidate] = 0
        images = self.splits.selection
        size = min(MASKING_BATCH, len(images))
        self.supernet.train()
        with (
            mixture.handed(p / p.sum()),
            seeded(stream(self.seed, "masking", self.pmpl.alpha_steps)),
        ):
            losses = [
                float(self.pmpl.alphas.loss(self.objective(self.shares.part(x), labels)))
                for x, labels in plain_batches(images, self.augmentation, size)
                if len(labels) == size
            ]
        return sum(losses) / len(losses)

    def _close(self) -> None:
        """The deadline, told with the losses of a batch."""
        generator = torch.Generator().manual_seed(stream(self.seed, "deadline"))
        batch = next(
            epoch_batches(
                self.splits.alpha,
                self.augmentation,
                self.settings.alpha_batch,
                generator,
                self.shares,
            )
        )
        self.supernet.train()
        self.pmpl.finish(self.objective(*batch))

    def choices(self) -> tuple[Choice, ...]:
        """The operator of every slot, once the search is finished."""
        return self.supernet.choices()

    def network(self) -> nn.Module:
        """The found network with the adapted weights, its BatchNorm statistics estimated again."""
        network, size = self.supernet.extract(), self.descent.recipe.batch_size
        seed = stream(self.seed, "statistics")
        return settled(network, self.splits.weights, self.augmentation, size, seed)

    def score(self, network: nn.Module) -> float:
        """Accuracy on the selection split."""
        return accuracy(network, self.splits.selection, self.augmentation)

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to go on: after an epoch or, inside ``tick``, after a step."""
        return {
            **self.pmpl.state_dict(),
            "within": self.alternation.tally.state_dict(),
            "network": self.supernet.state_dict(),
            **self.descent.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state_dict` was taken."""
        self.pmpl.load_state_dict(state)
        self.supernet.load_state_dict(state["network"])
        self.descent.load_state_dict(state)
        self.alternation.tally = Tally.of(state.get("within"))
