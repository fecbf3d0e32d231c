"""Progressive Meta-Pooling Learning (arXiv 2301.10038): learn α, freeze slot by slot, adapt.

The paper's: the relaxation, the two disjoint losses, freezing on the gap of the top two, the
deadline, adaptation. Ours: the four splits, the guards (minimum epochs, averaging, patience,
warm-up, still statistics), the null control, and what α goes down by default. In a mixture of six
pools and an identity more identity is what is missing, whichever of them were best alone; so α
goes down the expected loss of one of them alone, which is what a slot keeps in the end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from rfsearch.backbones.supernet import Supernet
from rfsearch.data.augmentation import Augmentation
from rfsearch.data.images import Images, SearchSplits
from rfsearch.errors import UserError, unknown
from rfsearch.operators.blend import MIXINGS, Blend
from rfsearch.seeds import stream
from rfsearch.spaces import Choice
from rfsearch.strategies.freezing import Watch, at_deadline, observe, ranked
from rfsearch.training.alternate import ALPHA_LOSSES, AlphaDescent, Alternation, Gradients
from rfsearch.training.batches import epoch_batches, plain_batches
from rfsearch.training.evaluation import accuracy
from rfsearch.training.fit import Descent, Tick, silent
from rfsearch.training.randomness import seeded
from rfsearch.training.recipe import Recipe, setting
from rfsearch.training.statistics import settled

if TYPE_CHECKING:
    from lightning_fabric import Fabric

NULLS = ("off", "signs", "labels")
DEADLINES = ("argmax", "pair")
SELECTORS = ("alpha", "masking")
RELAXATIONS = ("alone", "mixed")
MASKING_BATCH = 200
"""Images of the selection split behind one set of BatchNorm's statistics."""


@dataclass(frozen=True, kw_only=True)
class PMPLSettings:
    """Every dial and guard of the search; the report prints them all."""

    alpha_lr: float = setting(0.1, "Adam's step on alpha (PMPL's code: 3e-4 over many epochs)")
    alpha_beta1: float = setting(0.5, "Adam's first beta for alpha (PMPL's code)")
    alpha_beta2: float = setting(0.999, "Adam's second beta for alpha (PMPL's code)")
    alpha_weight_decay: float = setting(1e-3, "Adam's weight decay for alpha (PMPL's code)")
    alpha_loss: str = setting("calibrated", "plain (PMPL), or calibrated: at the best temperature")
    relaxation: str = setting(
        "alone",
        "what alpha goes down: alone, the expected loss of one candidate of a slot alone, a slot "
        "a step (ours), or mixed, the loss of the mixture (PMPL)",
    )
    alpha_init: float = setting(1e-3, "alpha starts at N(0, 1) times this (PMPL's code)")
    alpha_batch: int = setting(32, "images of an alpha step")
    alpha_every: int = setting(2, "weight steps for one alpha step")
    progressive: bool = setting(True, "freeze slots as they settle; false waits for the deadline")
    threshold: float = setting(0.2, "freeze when the averaged top-two gap reaches this (PMPL)")
    minimum_epochs: int = setting(2, "epochs with alpha moving before the first freeze")
    average: float = setting(0.8, "weight of the past in the average of p")
    patience: int = setting(5, "alpha steps of a slot in a row for which the gap must hold")
    select: str = setting("alpha", "what keeps one of a slot's top two: alpha, or masking each")
    mixing: str = setting("all", "candidates of a step: all, subset, or sampled (one, by Gumbel)")
    subset: int = setting(2, "candidates of a slot in a step under mixing=subset")
    candidate_norms: bool = setting(
        True, "residual form: a BatchNorm for each candidate; false has one over their sum"
    )
    deadline: str = setting("argmax", "what open slots keep at the end: argmax, or pair (PMPL)")
    null: str = setting(
        "off",
        "null control: off, signs (random sign of each slot's gradient), "
        "or labels (alpha split's labels permuted: a diagnostic)",
    )

    def __post_init__(self) -> None:
        if self.alpha_loss not in ALPHA_LOSSES:
            raise unknown("pmpl.alpha_loss", self.alpha_loss, ALPHA_LOSSES)
        if self.alpha_batch < 2:
            raise UserError(f"pmpl.alpha_batch must be 2 or more, not {self.alpha_batch}")
        for name in ("alpha_lr", "alpha_every", "patience"):
            if getattr(self, name) <= 0:
                raise UserError(f"pmpl.{name} must be more than 0, not {getattr(self, name)}")
        for name in ("alpha_beta1", "alpha_beta2", "average"):
            if not 0 <= getattr(self, name) < 1:
                raise UserError(f"pmpl.{name} must be in [0, 1), not {getattr(self, name)}")
        for name in ("alpha_init", "alpha_weight_decay", "minimum_epochs", "threshold"):
            if getattr(self, name) < 0:
                raise UserError(f"pmpl.{name} must be 0 or more, not {getattr(self, name)}")
        if self.null not in NULLS:
            raise unknown("pmpl.null", self.null, NULLS)
        if self.deadline not in DEADLINES:
            raise unknown("pmpl.deadline", self.deadline, DEADLINES)
        if self.select not in SELECTORS:
            raise unknown("pmpl.select", self.select, SELECTORS)
        if self.mixing not in MIXINGS:
            raise unknown("pmpl.mixing", self.mixing, MIXINGS)
        if self.relaxation not in RELAXATIONS:
            raise unknown("pmpl.relaxation", self.relaxation, RELAXATIONS)
        if self.relaxation == "alone" and self.blend is not None:
            raise UserError(
                "pmpl.mixing and pmpl.candidate_norms change the mixture that alpha goes down; "
                "use pmpl.relaxation=mixed with them"
            )
        if self.subset < 2:
            raise UserError(f"pmpl.subset must be 2 or more, not {self.subset}")
        if self.select == "masking" and self.deadline == "pair":
            raise UserError("pmpl.select=masking keeps one of two; use pmpl.deadline=argmax")

    @property
    def blend(self) -> Blend | None:
        """How candidates are mixed where it is not as usual."""
        blend = Blend(self.mixing, self.subset, self.candidate_norms)
        usual = self.mixing == "all" and self.candidate_norms
        return None if usual else blend


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


class PMPL:
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
        self.epoch = 0
        self.alpha_steps = 0
        self.watches = {slot: Watch() for slot in supernet.slots}
        self._froze: list[dict[str, Any]] = []
        _start_alphas(supernet, settings.alpha_init, stream(seed, "alpha"))
        steps = stages.epochs * (len(splits.weights) // recipe.batch_size)
        self.descent = Descent(
            supernet, supernet.weights(), recipe, steps, fabric, splits.weights.labels
        )
        if settings.blend is not None:
            self._blend(settings.blend)
        self.alphas = AlphaDescent(
            supernet,
            recipe.weighing(ALPHA_LOSSES[settings.alpha_loss], splits.alpha.labels),
            settings.alpha_lr,
            (settings.alpha_beta1, settings.alpha_beta2),
            settings.alpha_weight_decay,
        )
        self.alternation = Alternation(
            supernet,
            self.descent,
            self.alphas,
            splits.weights,
            self._alpha_images(),
            augmentation,
            settings.alpha_batch,
            settings.alpha_every,
        )

    def _blend(self, blend: Blend) -> None:
        for mixture in self.supernet.mixtures.values():
            mixture.blend = blend
        for group in self.descent.optimizer.param_groups:
            group["fused"] = False  # a fused step wants the gradient of every weight, every time

    def _alpha_images(self) -> Images:
        images = self.splits.alpha
        if self.settings.null != "labels":
            return images
        generator = torch.Generator().manual_seed(stream(self.seed, "null"))
        order = torch.randperm(len(images), generator=generator).to(images.labels.device)
        return Images(images.pixels, images.labels[order], images.sources)

    @property
    def finished(self) -> bool:
        """Whether all epochs are done."""
        return self.epoch >= self.stages.epochs

    def advance(self, tick: Tick = silent) -> dict[str, Any]:
        """Search one epoch and tell of it (a line of history.jsonl)."""
        stage = self.stages.of(self.epoch)
        self._froze = []
        with seeded(stream(self.seed, "epoch", self.epoch)) as generator:
            self._signs = torch.Generator().manual_seed(stream(self.seed, "signs", self.epoch))
            on_alpha = self._alpha_step if stage == "search" else None
            measured = self.alternation.epoch(generator, on_alpha, tick)
        if self.epoch + 1 == self.stages.warmup + self.stages.search:
            self._close()
        self.epoch += 1
        return {
            "phase": "search",
            "stage": stage,
            "epoch": self.epoch,
            "epochs": self.stages.epochs,
            **measured,
            "alpha_steps": self.alpha_steps,
            "p": self._probabilities(),
            "average": {slot: list(watch.average) for slot, watch in self.watches.items()},
            "frozen": {s: list(m.kept) for s, m in self.supernet.mixtures.items() if m.kept},
            "froze": self._froze,
        }

    def _alpha_step(self, images: Tensor, labels: Tensor) -> float:
        loss, gradients = self.alpha_gradients(images, labels)
        self.alphas.step(self._null(gradients))
        self.alpha_steps += 1
        probabilities = self._probabilities()
        for slot in gradients:
            self.watches[slot] = observe(
                self.watches[slot],
                probabilities[slot],
                self.settings.average,
                self.settings.threshold,
            )
        self._freeze(self._ready(gradients), "rule", images, labels)
        return float(loss)

    def alpha_gradients(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Gradients]:
        """What α goes down, and its gradient by the α of all open slots, or of the one whose
        turn it is."""
        if self.settings.relaxation == "mixed":
            return self.alphas.gradients(images, labels)
        slots = self.supernet.open_slots
        return self.alphas.alone(slots[self.alpha_steps % len(slots)], images, labels)

    def _null(self, gradients: Gradients) -> Gradients:
        if self.settings.null != "signs":
            return gradients
        signs = torch.randint(0, 2, (len(gradients),), generator=self._signs) * 2 - 1
        return {s: g * int(sign) for (s, g), sign in zip(gradients.items(), signs, strict=True)}

    def _ready(self, slots: Sequence[str] | Gradients) -> dict[str, tuple[int, ...]]:
        moved = self.epoch - self.stages.warmup
        if not self.settings.progressive or moved < self.settings.minimum_epochs:
            return {}
        watches = {slot: self.watches[slot] for slot in slots}
        ready = {s: w for s, w in watches.items() if w.streak >= self.settings.patience}
        return {s: self._chosen(s, w.average, "argmax") for s, w in ready.items()}

    def _chosen(self, slot: str, p: Sequence[float], deadline: str) -> tuple[int, ...]:
        """What a slot that is ready keeps."""
        if self.settings.select == "alpha":
            return at_deadline(p, deadline)
        return (max(ranked(p)[:2], key=lambda k: self.loss_without(slot, k)),)

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
            seeded(stream(self.seed, "masking", self.alpha_steps)),
        ):
            losses = [
                float(self.alphas.loss(x, labels))
                for x, labels in plain_batches(images, self.augmentation, size)
                if len(labels) == size
            ]
        return sum(losses) / len(losses)

    def _freeze(
        self, kept: dict[str, tuple[int, ...]], by: str, images: Tensor, labels: Tensor
    ) -> None:
        """Freeze these slots and log each with the batch's loss before and after."""
        if not kept:
            return
        before = self._loss(images, labels)
        for slot, indices in kept.items():
            p = self._probabilities()[slot]
            self.supernet.keep({slot: indices})
            after = self._loss(images, labels)
            labels_of = [self.supernet.space.operators[k].label for k in indices]
            self._froze.append(
                {
                    "slot": slot,
                    "by": by,
                    "operators": labels_of,
                    "epoch": self.epoch + 1,
                    "alpha_step": self.alpha_steps,
                    "p": p,
                    "loss_before": before,
                    "loss_after": after,
                }
            )
            before = after

    @torch.no_grad()
    def _loss(self, images: Tensor, labels: Tensor) -> float:
        with seeded(stream(self.seed, "freeze", self.alpha_steps)):
            return float(self.alphas.loss(images, labels))

    def _close(self) -> None:
        """The deadline: every slot that is still open keeps what `deadline` says."""
        probabilities = self._probabilities()
        kept = {
            s: self._chosen(s, self.watches[s].average or probabilities[s], self.settings.deadline)
            for s in self.supernet.open_slots
        }
        generator = torch.Generator().manual_seed(stream(self.seed, "deadline"))
        batch = next(
            epoch_batches(
                self.splits.alpha, self.augmentation, self.settings.alpha_batch, generator
            )
        )
        self.supernet.train()
        self._freeze(kept, "deadline", *batch)

    def _probabilities(self) -> dict[str, list[float]]:
        return {
            slot: alpha.detach().softmax(0).tolist()
            for slot, alpha in self.supernet.alphas().items()
        }

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
        """Everything needed to go on."""
        return {
            "epoch": self.epoch,
            "alpha_steps": self.alpha_steps,
            "watches": {s: (w.average, w.winner, w.streak) for s, w in self.watches.items()},
            "kept": {slot: mixture.kept for slot, mixture in self.supernet.mixtures.items()},
            "network": self.supernet.state_dict(),
            "alpha_optimizer": self.alphas.optimizer.state_dict(),
            **self.descent.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state_dict` was taken."""
        self.epoch, self.alpha_steps = state["epoch"], state["alpha_steps"]
        self.watches = {
            slot: Watch(tuple(average), winner, streak)
            for slot, (average, winner, streak) in state["watches"].items()
        }
        self.supernet.keep(state["kept"])
        self.supernet.load_state_dict(state["network"])
        self.alphas.optimizer.load_state_dict(state["alpha_optimizer"])
        self.descent.load_state_dict(state)


def _start_alphas(supernet: Supernet, scale: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for alpha in supernet.alphas().values():
        with torch.no_grad():
            alpha.copy_(torch.randn(alpha.shape, generator=generator) * scale)
