"""NNI 3.0's one-shot DARTS and GumbelDARTS on Lightning; both are imported only when one is named.

Requirements and choice. NNI's part runs as it is: its mixed layer, its alternation, its Adam on α
(betas .5 and .999, weight decay 1e-3, the start at N(0, 1)·1e-3), its annealing of the Gumbel
temperature from 1 to .33. Ours are the space, the splits, the recipe of the weights, the step on
α (`pmpl.alpha_lr`), the batches (`pmpl.alpha_batch`), the warm-up, and the candidates with their
weights, which NNI's layer choice shares with our supernet:

    residual   x + γ ⊙ choice(x) + β    candidates BN_k(o_k(x)), identity's too
    paper      h-swish(BN(choice(x)))   candidates o_k(x)

As softmax and soft Gumbel weights sum to one, both are our mixtures at the same weights. What
differs from `darts`: a step on α for every step on weights, by the plain loss of the recipe, which
also moves BatchNorm's running statistics; no adaptation, α moves to the end. A search goes on from
its last whole epoch: Lightning fits one epoch at a time, from streams of its own, and both
optimizers are kept.
"""

from __future__ import annotations

import copy
import itertools
import logging
import random
import signal
import statistics
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from rfsearch.backbones.slots import install
from rfsearch.data.augmentation import Augmentation
from rfsearch.data.images import Images
from rfsearch.operators.mixture import Mixture, PaperMixture, ResidualMixture
from rfsearch.operators.replaced import ReplaceMixture
from rfsearch.seeds import stream
from rfsearch.spaces import Choice
from rfsearch.strategies.nni_tuners import load
from rfsearch.strategies.task import Task
from rfsearch.strategies.within import STRENGTH, penalty
from rfsearch.training.batches import epoch_batches
from rfsearch.training.fit import Descent, NotFinite, Tick, silent
from rfsearch.training.randomness import seeded
from rfsearch.training.statistics import settled

ACCELERATORS = {"cpu": "cpu", "cuda": "gpu", "mps": "mps"}
"""Device of torch → Lightning's word for it."""


class Expressed(nn.Module):
    """A mixture as NNI's layer choice in the place of its sum; every weight is the mixture's."""

    def __init__(self, mixture: Mixture, label: str) -> None:
        super().__init__()
        from nni.nas.nn.pytorch import LayerChoice

        self.residual = isinstance(mixture, ResidualMixture)
        candidates: list[nn.Module] = list(mixture.operators)
        if isinstance(mixture, ResidualMixture | ReplaceMixture):
            normed = zip(mixture.operators, mixture.norms, strict=True)
            candidates = [nn.Sequential(operator, norm) for operator, norm in normed]
        if isinstance(mixture, ResidualMixture):
            self.gamma, self.beta = mixture.gamma, mixture.beta
        elif isinstance(mixture, ReplaceMixture):
            self.norm: nn.Module = nn.Identity()
            self.activation: nn.Module = nn.Identity()
        else:
            assert isinstance(mixture, PaperMixture)
            self.norm, self.activation = mixture.norm, mixture.activation
        self.choice = LayerChoice(candidates, label=label)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C, H, W)."""
        mixed: Tensor = self.choice(x)
        if self.residual:
            return x + self.gamma[:, None, None] * mixed + self.beta[:, None, None]
        activated: Tensor = self.activation(self.norm(mixed))
        return activated


class Batches:
    """What Lightning iterates over: so many batches, again from their start where they end."""

    def __init__(
        self, images: Images, augmentation: Augmentation, size: int, count: int, seed: int
    ) -> None:
        self.images, self.augmentation = images, augmentation
        self.size, self.count, self.seed = size, count, seed

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        generator = torch.Generator().manual_seed(self.seed)
        left = self.count
        while left:
            batches = epoch_batches(self.images, self.augmentation, self.size, generator)
            for batch in batches:
                yield batch
                left -= 1
                if not left:
                    return


class OneShot:
    """One search by a strategy of NNI; `advance` fits one epoch.

    Args:
        build: NNI's strategy from its keyword arguments.
    """

    def __init__(self, task: Task, build: Callable[..., Any]) -> None:
        self.task, self.seed, self.epoch = task, task.search_seed, 0
        self.supernet = task.supernet()
        self.mixtures = self.supernet.mixtures
        self.steps = len(task.splits.weights) // task.recipe.batch_size
        total = self.epochs * self.steps
        weights = self.supernet.weights()
        self.descent = Descent(
            self.supernet, weights, task.recipe, total, task.fabric, task.splits.weights.labels
        )
        self.adam: dict[str, dict[str, Any]] = {}
        self.begun: dict[str, Any] | None = None
        self.strategy = build(
            arc_learning_rate=task.pmpl.alpha_lr,
            warmup_epochs=task.stages.warmup,
            gradient_clip_val=task.recipe.clip,
        )
        self.places: dict[str, Expressed] = {}
        with seeded(stream(self.seed, "alpha")), _quiet():
            self.module = _module(self)
            self._restore()
        for mixture, place in zip(self.mixtures.values(), self.places.values(), strict=True):
            with torch.no_grad():
                mixture.alpha.copy_(place.choice._arch_alpha)
            place.choice._arch_alpha = mixture.alpha

    @contextmanager
    def _expressed(self) -> Iterator[None]:
        """Inside, NNI's modules stand at the slots; outside, our mixtures do."""
        self.express()
        try:
            yield
        finally:
            self._restore()

    def express(self) -> None:
        """Put NNI's modules at the slots."""
        for slot, place in self.places.items():
            install(self.supernet.network, self.supernet.slots[slot], place)

    def _restore(self) -> None:
        for slot, mixture in self.mixtures.items():
            install(self.supernet.network, self.supernet.slots[slot], mixture)

    @property
    def epochs(self) -> int:
        """Those of the warm-up, the search and the adaptation, in all of which it searches."""
        return self.task.stages.epochs

    @property
    def finished(self) -> bool:
        """Whether all epochs are done."""
        return self.epoch >= self.epochs

    def advance(self, tick: Tick = silent) -> dict[str, Any]:
        """Search one epoch and tell of it (a line of history.jsonl)."""
        began = time.perf_counter()
        warming = self.epoch < self.task.stages.warmup
        self.begun = copy.deepcopy(self._state())
        told = self.fit(self.steps, tick)
        self.epoch, self.begun = self.epoch + 1, None
        froze = self._close() if self.finished else []
        seconds = time.perf_counter() - began
        return {
            "phase": "search",
            "stage": "warmup" if warming else "search",
            "epoch": self.epoch,
            "epochs": self.epochs,
            **told,
            "alpha_steps": max(0, self.epoch - self.task.stages.warmup) * self.steps,
            "p": {s: a.detach().softmax(0).tolist() for s, a in self.supernet.alphas().items()},
            "frozen": {s: list(m.kept) for s, m in self.mixtures.items() if m.kept},
            "froze": froze,
            "seconds": seconds,
            "step_seconds": seconds / self.steps,
        }

    def fit(self, steps: int, tick: Tick = silent) -> dict[str, Any]:
        """So many steps of the present epoch by Lightning; their losses and the accuracy."""
        task, size = self.task, self.task.recipe.batch_size
        seeds = [stream(self.seed, kind, self.epoch) for kind in ("weights", "alpha")]
        sizes = (size, task.pmpl.alpha_batch)
        images = (task.splits.weights, task.splits.alpha)
        made = [
            Batches(one, task.augmentation, count, steps, seed)
            for one, count, seed in zip(images, sizes, seeds, strict=True)
        ]
        self.module.training_module.begin(tick)
        with self._expressed(), _quiet(), seeded(stream(self.seed, "epoch", self.epoch)):
            trainer = _trainer(self)
            loaders = self.strategy.train_dataloader(lambda: made[0], lambda: made[1])
            _interruptible(partial(trainer.fit, self.module, train_dataloaders=loaders))
        return self.module.training_module.told()

    def seconds_a_step(self, epoch: int, steps: int) -> float:
        """A middling one of so many steps of an epoch; the search is of no use afterwards."""
        self.epoch = epoch
        self.fit(steps + 1)
        moments = self.module.training_module.moments
        return statistics.median(b - a for a, b in itertools.pairwise(moments))

    def _close(self) -> list[dict[str, Any]]:
        """Keep what NNI exports, within the caps; the log of it, slot by slot."""
        with self._expressed():
            exported = self.module.export()
        indices = tuple(int(exported[place.choice.label]) for place in self.places.values())
        if self.task.costs is not None:
            indices = self.task.caps.repair(self.task.costs, indices)
        kept = dict(zip(self.task.slots, indices, strict=True))
        self.supernet.keep({slot: (index,) for slot, index in kept.items()})
        labels = self.task.space.labels
        return [
            {
                "slot": slot,
                "by": "deadline",
                "operators": [labels[index]],
                "epoch": self.epoch,
                "alpha_step": (self.epoch - self.task.stages.warmup) * self.steps,
                "p": self.mixtures[slot].alpha.detach().softmax(0).tolist(),
            }
            for slot, index in kept.items()
        ]

    def choices(self) -> tuple[Choice, ...]:
        """The operator of every slot, once the search is finished."""
        return self.supernet.choices()

    def network(self) -> nn.Module:
        """The found network with its weights, BatchNorm's statistics estimated again."""
        network, task = self.supernet.extract(), self.task
        size, seed = task.recipe.batch_size, stream(self.seed, "statistics")
        return settled(network, task.splits.weights, task.augmentation, size, seed)

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to go on; inside of an epoch, which is Lightning's, as it began."""
        return self.begun or self._state()

    def _state(self) -> dict[str, Any]:
        return {
            "epoch": self.epoch,
            "kept": {slot: mixture.kept for slot, mixture in self.mixtures.items()},
            "network": self.supernet.state_dict(),
            "adam": self.adam,
            **self.descent.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state_dict` was taken."""
        self.epoch, self.adam = state["epoch"], state["adam"]
        self.supernet.keep(state["kept"])
        self.supernet.load_state_dict(state["network"])
        self.descent.load_state_dict(state)


def darts(task: Task) -> OneShot:
    """NNI's first-order DARTS."""
    from_nni = _load().DARTS
    return OneShot(task, from_nni)


def gumbel(task: Task) -> OneShot:
    """NNI's DARTS under soft Gumbel weights of falling temperature."""
    from_nni = _load().GumbelDARTS
    return OneShot(task, from_nni)


def _load() -> Any:
    load()
    before = random.getstate()
    with _quiet():
        import nni.nas.strategy
    random.setstate(before)
    for name in ("pytorch_lightning", "lightning.pytorch", "nni"):
        logging.getLogger(name).setLevel(logging.ERROR)
    return nni.nas.strategy


@contextmanager
def _quiet() -> Iterator[None]:
    """Lightning warns of few workers and of metrics that nobody logs."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _module(search: OneShot) -> Any:
    """NNI's one-shot module around the supernet, whose slots it expresses."""
    from nni.nas.evaluator.pytorch import LightningModule
    from nni.nas.nn.pytorch import ModelSpace

    class Space(ModelSpace):
        """The supernet's network as NNI's space."""

        def __init__(self) -> None:
            super().__init__()
            search.places = {
                slot: Expressed(mixture, f"slot{number}")
                for number, (slot, mixture) in enumerate(search.mixtures.items())
            }
            search.express()
            self.network = search.supernet.network

        def forward(self, x: Tensor) -> Tensor:
            """Images to logits."""
            logits: Tensor = self.network(x)
            return logits

    class Training(LightningModule):
        """The recipe of the weights; NNI calls it for steps on α too, at even numbers."""

        def begin(self, tick: Tick) -> None:
            """Forget what was seen."""
            self.tick = tick
            self.losses: list[Tensor] = []
            self.alpha_losses: list[Tensor] = []
            self.right: list[Tensor] = []
            self.moments: list[float] = []

        def training_step(self, batch: tuple[Tensor, Tensor], number: int) -> Tensor:
            """The loss of a batch."""
            images, labels = batch
            logits = self.model(images)
            loss = search.descent.loss(logits, labels)
            if not loss.isfinite():
                raise NotFinite(
                    f"the loss is {float(loss)} in step {len(self.losses) + 1} of "
                    f"{search.steps}; a smaller --set recipe.lr may help"
                )
            if number % 2 == 0:
                self.alpha_losses.append(loss.detach().cpu())
                return loss + _penalty(search)
            self.losses.append(loss.detach().cpu())
            self.right.append((logits.detach().argmax(1) == labels).float().mean().cpu())
            self.moments.append(time.perf_counter())
            self.tick(len(self.losses), search.steps)
            return loss

        def configure_optimizers(self) -> Any:
            """Those of the recipe, which go on from epoch to epoch."""
            schedule = {"scheduler": search.descent.schedule, "interval": "step"}
            return [search.descent.optimizer], [schedule]

        def on_train_start(self) -> None:
            """NNI makes its Adam anew in every fit; what it had comes back."""
            adam = _adam(self.trainer)
            for slot, mixture in search.mixtures.items():
                if slot in search.adam:
                    adam.state[mixture.alpha] = {
                        k: v.clone() for k, v in search.adam[slot].items()
                    }

        def on_train_end(self) -> None:
            """Keep what NNI's Adam has."""
            state = _adam(self.trainer).state
            search.adam = {
                slot: _copied(state[mixture.alpha])
                for slot, mixture in search.mixtures.items()
                if mixture.alpha in state
            }

        def told(self) -> dict[str, Any]:
            """Means over the steps; None of what is no number."""
            return {
                "loss": _mean(self.losses),
                "accuracy": _mean(self.right),
                "alpha_loss": _mean(self.alpha_losses),
            }

    space, training = Space(), Training()
    search.strategy.mutate_model(space)
    training.set_model(space)
    return search.strategy.configure_oneshot_module(training)


def _penalty(search: OneShot) -> Tensor | float:
    caps, costs = search.task.caps, search.task.costs
    if costs is None or not caps.limits:
        return 0.0
    return STRENGTH * penalty(list(search.mixtures.values()), caps, costs)


def _adam(trainer: Any) -> torch.optim.Optimizer:
    """NNI's optimizer of α."""
    found: torch.optim.Optimizer
    found = next(one for one in trainer.optimizers if getattr(one, "is_arch_optimizer", False))
    return found


def _copied(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {key: value.clone() for key, value in state.items()}


def _mean(values: list[Tensor]) -> float | None:
    mean = float(torch.stack(values).mean()) if values else float("nan")
    return mean if mean == mean else None


def _trainer(search: OneShot) -> Any:
    """Lightning for one epoch, which counts as the search's present one."""
    import pytorch_lightning as pl

    class OneEpoch(pl.Callback):
        """Stops after it."""

        def on_train_epoch_end(self, trainer: pl.Trainer, _: pl.LightningModule) -> None:
            """The epoch is over."""
            trainer.should_stop = True

    device = search.task.fabric.device
    trainer = pl.Trainer(
        accelerator=ACCELERATORS[device.type],
        devices=1,
        max_epochs=search.epochs,
        callbacks=[OneEpoch()],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    progress: Any = trainer.fit_loop.epoch_progress.current
    progress.processed = progress.completed = search.epoch
    search.module.train()
    return trainer


def _interruptible(work: Callable[[], None]) -> None:
    """Ctrl-C goes on to the caller; Lightning turns it into an exit and goes deaf to another."""
    before = signal.getsignal(signal.SIGINT)
    try:
        work()
    except SystemExit as error:
        signal.signal(signal.SIGINT, before)
        raise KeyboardInterrupt from error
