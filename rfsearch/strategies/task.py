"""What a strategy is handed: the space, the search splits, its budget; no way to test data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import nn

from rfsearch import spaces
from rfsearch.backbones.realise import realise
from rfsearch.backbones.supernet import Supernet, supernet
from rfsearch.data.augmentation import Augmentation
from rfsearch.data.images import SearchSplits
from rfsearch.seeds import stream
from rfsearch.spaces import Architecture, Choice, Input, Space
from rfsearch.strategies.costs import NO_CAPS, Caps, CostTable
from rfsearch.strategies.optuna_samplers import SamplingSettings
from rfsearch.strategies.pmpl_search import Stages
from rfsearch.strategies.pmpl_settings import PMPLSettings
from rfsearch.strategies.proposal import Indices, Shape
from rfsearch.training.evaluation import score
from rfsearch.training.metrics import ACCURACY, METRICS, Metric
from rfsearch.training.randomness import seeded
from rfsearch.training.recipe import Recipe
from rfsearch.training.shares import shares_of

Module = TypeVar("Module", bound=nn.Module)

if TYPE_CHECKING:
    from lightning_fabric import Fabric

    from rfsearch.strategies.attempt import Executor


@dataclass(frozen=True)
class Proxy:
    """The cheap training behind a trial's score: epochs, and images of weights and alpha."""

    epochs: int
    images: int


@dataclass(frozen=True, kw_only=True)
class Task:
    """One search, settled.

    Attributes:
        slots: names of the slots that are searched, in network order.
        taken: the images a network takes.
        stages: epochs of a supernet; ``trials`` and ``proxy`` are for strategies that sample.
        costs: what every operator costs in every slot, where a cap or an objective needs it.
        caps: the largest costs a found network may have.
        pretrained: whether every network begins with the published weights of its backbone.
        metric: by which networks are scored.
        kernels: "plain" keeps mixtures from compiled code.
        batch: proposals that are asked for before any of them is told.
        asynchronous: a trial is told when it ends, and the next one asked for; not repeatable.
        executor: makes the trials of a strategy by name, elsewhere; None makes them here.
        seed: the run's; every stream below it has a name.
    """

    backbone: spaces.Backbone
    space: Space
    slots: tuple[str, ...]
    taken: Input
    classes: tuple[str, ...]
    splits: SearchSplits
    augmentation: Augmentation
    recipe: Recipe
    pmpl: PMPLSettings
    sampling: SamplingSettings
    stages: Stages
    trials: int
    proxy: Proxy
    seed: int
    fabric: Fabric
    costs: CostTable | None = None
    caps: Caps = NO_CAPS
    pretrained: bool = False
    metric: Metric = METRICS[ACCURACY]
    kernels: str = "eager"
    batch: int = 1
    asynchronous: bool = False
    executor: Callable[[Task, str], Executor] | None = None

    @property
    def shape(self) -> Shape:
        """What the proposers see of the space."""
        return Shape(self.slots, len(self.space.operators))

    @property
    def filled(self) -> Indices:
        """A network to time: the second operator everywhere, for the first is identity as a rule,
        which costs nothing; of a space of one operator that."""
        return (min(1, len(self.space.operators) - 1),) * len(self.slots)

    @property
    def search_seed(self) -> int:
        """Of the strategy's own streams."""
        return stream(self.seed, "search")

    def choices(self, indices: Indices) -> tuple[Choice, ...]:
        """One operator per slot."""
        return self.space.choose(self.slots, indices)

    def architecture(self, choices: tuple[Choice, ...]) -> Architecture:
        """The architecture of these choices on this task's images."""
        return Architecture(self.backbone, self.space.name, choices, self.taken, self.classes)

    def network(self, choices: tuple[Choice, ...], seed: int) -> nn.Module:
        """The network of these choices at its start, on its device."""
        with seeded(seed):
            return self._place(realise(self.architecture(choices), self.pretrained))

    def score(self, network: nn.Module) -> float:
        """The metric on the selection split; what a search maximises."""
        images, shares = self.splits.selection, shares_of(self.fabric)
        return shares.first(lambda: score(network, images, self.augmentation, self.metric))

    def supernet(self) -> Supernet:
        """The supernet at its start, on its device."""
        with seeded(stream(self.seed, "search", "weights")):
            network = supernet(
                self.backbone, self.space, include=self.slots, pretrained=self.pretrained
            )
        for mixture in network.mixtures.values():
            mixture.fuse = self.kernels == "eager"
        return self._place(network)

    def _place(self, network: Module) -> Module:
        placed: Module = network.to(self.fabric.device).to(memory_format=torch.channels_last)
        return placed
