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
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import nn

from rfsearch.backbones.slots import install
from rfsearch.seeds import stream
from rfsearch.spaces import Choice
from rfsearch.strategies.nni_modules import Batches, Expressed, Meter, module, one_epoch
from rfsearch.strategies.nni_tuners import load
from rfsearch.strategies.task import Task
from rfsearch.training.fit import Descent, Tick, silent
from rfsearch.training.randomness import seeded
from rfsearch.training.statistics import settled


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
            self.module = module(self)
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
        meter = self.module.training_module.meter = Meter(self.steps, tick)
        with self._expressed(), _quiet(), seeded(stream(self.seed, "epoch", self.epoch)):
            trainer = one_epoch(self)
            loaders = self.strategy.train_dataloader(lambda: made[0], lambda: made[1])
            _interruptible(partial(trainer.fit, self.module, train_dataloaders=loaders))
        return meter.told()

    def seconds_a_step(self, epoch: int, steps: int) -> float:
        """A middling one of so many steps of an epoch; the search is of no use afterwards."""
        self.epoch = epoch
        self.fit(steps + 1)
        moments = self.module.training_module.meter.moments
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


def _interruptible(work: Callable[[], None]) -> None:
    """Ctrl-C goes on to the caller; Lightning turns it into an exit and goes deaf to another."""
    before = signal.getsignal(signal.SIGINT)
    try:
        work()
    except SystemExit as error:
        signal.signal(signal.SIGINT, before)
        raise KeyboardInterrupt from error
