"""One run from data to report: search, retrain found and plain, measure, draw.

Every phase leaves a file that says it is done, written whole; a run that is started again goes
through the same phases, passes over what is done and goes on in the middle of what is not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import nn

from rfsearch import backbones, spaces, strategies
from rfsearch.backbones.published import start
from rfsearch.backbones.realise import realise
from rfsearch.backbones.slots import Slot
from rfsearch.data.augmentation import Augmentation, AugmentationSettings
from rfsearch.data.images import Dataset
from rfsearch.engine import preemption
from rfsearch.engine.config import Config
from rfsearch.engine.executors import Executor, Inline
from rfsearch.engine.settings import ExecutorSettings, MetricSettings, SlotSettings
from rfsearch.errors import UserError
from rfsearch.seeds import stream
from rfsearch.spaces import Architecture, Input
from rfsearch.strategies import Strategy
from rfsearch.strategies.costs import Caps, CostTable
from rfsearch.strategies.optuna_samplers import SamplingSettings
from rfsearch.strategies.pmpl_search import Stages
from rfsearch.strategies.pmpl_settings import PMPLSettings
from rfsearch.strategies.proposal import Tried
from rfsearch.strategies.task import Proxy, Task
from rfsearch.training import checkpoint
from rfsearch.training.fit import Fit, NotFinite, Tick
from rfsearch.training.randomness import seeded
from rfsearch.training.recipe import Recipe
from rfsearch.training.shares import Lost, shares_of
from rfsearch.trials import (
    History,
    Kept,
    RunFolder,
    Trial,
    journal,
    read_json,
    record,
    write_json,
    write_trials_csv,
)

if TYPE_CHECKING:
    from lightning_fabric import Fabric


ASYNCHRONOUS = (
    "asynchronous: what is found depends on which trials end first; this search cannot be repeated"
)


class Progress(Protocol):
    """What a run tells while it goes on."""

    def start(self, phases: list[tuple[str, float | None, int]]) -> None:
        """Names, expected seconds and epochs of all phases."""

    def step(self, phase: str, epoch: int, step: int, steps: int) -> None:
        """A step is done."""

    def epoch(self, record: dict[str, Any]) -> None:
        """An epoch is done: its line of history.jsonl."""

    def enter(self, name: str) -> None:
        """A phase without epochs begins."""

    def beside(self, name: str) -> None:
        """A phase begins that goes on beside the present ones."""

    def note(self, text: str) -> None:
        """A sentence."""


class Silent:
    """Progress that tells nobody."""

    def start(self, phases: list[tuple[str, float | None, int]]) -> None:
        """Nothing."""

    def step(self, phase: str, epoch: int, step: int, steps: int) -> None:
        """Nothing."""

    def epoch(self, record: dict[str, Any]) -> None:
        """Nothing."""

    def enter(self, name: str) -> None:
        """Nothing."""

    def beside(self, name: str) -> None:
        """Nothing."""

    def note(self, text: str) -> None:
        """Nothing."""


class Trainer(Protocol):
    """A search or a training that advances an epoch at a time; its state may be taken between
    epochs and, in ``tick``, between steps."""

    @property
    def epoch(self) -> int: ...

    @property
    def finished(self) -> bool: ...

    def advance(self, tick: Tick) -> dict[str, Any]: ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


class Recorded(Protocol):
    """What `drive` needs of a run: where its files are, and who is told."""

    @property
    def folder(self) -> RunFolder: ...

    @property
    def history(self) -> History: ...

    @property
    def progress(self) -> Progress: ...

    @property
    def fabric(self) -> Fabric: ...

    def epochs_before(self, label: Mapping[str, Any]) -> int:
        """Epochs of the same phase that were done before a training of this label."""


@dataclass(frozen=True)
class Run:
    """A settled run with its data, its folder and its device; ``allocator`` is what the plan's
    came to."""

    config: Config
    folder: RunFolder
    dataset: Dataset
    fabric: Fabric
    progress: Progress
    costs: CostTable | None = None
    executor: Executor = field(default_factory=Inline)
    kept: Kept | None = None
    allocator: str = "system"

    @property
    def study(self) -> Kept:
        """Where its trials are recorded: in its folder, unless told."""
        return self.kept or journal(self.folder)

    @property
    def history(self) -> History:
        """history.jsonl."""
        return History(self.folder.history)

    @property
    def augmentation(self) -> Augmentation:
        """How the images of training are varied."""
        data = self.dataset
        return Augmentation(
            self.config.group(AugmentationSettings), data.mean, data.std, data.flips
        )

    @property
    def backbone(self) -> spaces.Backbone:
        """The backbone with all its arguments."""
        return self.config.backbone_for(len(self.dataset.classes), self.dataset.channels)

    @property
    def side_by_side(self) -> bool:
        """Whether found and plain are trained at a time: the plan says so, and the device is a
        CPU that no other process of the run has."""
        alone = shares_of(self.fabric).num == 1 and self.fabric.device.type == "cpu"
        return alone and self.config.plan.retrain_processes == 2

    def epochs_before(self, label: Mapping[str, Any]) -> int:
        """Of the same network with other seeds."""
        return int(label.get("retrain_seed", 0)) * self.config.plan.retrain_epochs

    def place(self, network: nn.Module) -> nn.Module:
        """The network on the run's device, in the plan's layout."""
        return network.to(self.fabric.device).to(memory_format=torch.channels_last)


def search_units(config: Config) -> int:
    """How often the strategy advances: epochs of a supernet, trials, or both."""
    epochs, trials = config.plan.supernet_epochs, config.plan.trials
    return {"epochs": epochs, "trials": trials, "both": epochs + trials}[
        strategies.entry(config.strategy).spends
    ]


Watch = Callable[[Strategy, dict[str, Any]], None]
"""Called with a strategy and the line of history it has just told."""


def unwatched(strategy: Strategy, line: dict[str, Any]) -> None:
    """Look away."""
    del strategy, line


def search(run: Run, watch: Watch = unwatched) -> None:
    """Find an architecture; the study records every trial, of a supernet the one it ends in."""
    if run.folder.architecture.exists():
        return
    strategy, recorder = new_search(run), Recorder(run)

    def after(line: dict[str, Any]) -> None:
        recorder.update(strategy)
        watch(strategy, line)

    if run.config.group(ExecutorSettings).asynchronous:
        run.progress.note(ASYNCHRONOUS)
    with run.executor.session(run.config, run.progress.note):
        drive(run, "search", strategy, {}, after)
    recorder.update(strategy)  # again those that a torn journal lost
    network = strategy.network()
    checkpoint.save_weights(run.folder.checkpoint / "adapted.safetensors", network)
    architecture = describe(run, strategy.choices())
    if not isinstance(strategy, strategies.Tries):
        seconds = sum(line["seconds"] for line in run.history.read() if line["phase"] == "search")
        recorder.add(Trial(0, architecture, new_task(run).score(network), seconds))
    recorder.write()
    write_json(run.folder.architecture, architecture.to_json())


class Recorder:
    """Keeps the study in step with a search; a trial that is made again is not added again."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.study = run.study.open()
        self.space = spaces.load_space(run.config.space)
        self.num = 0

    @cached_property
    def slots(self) -> tuple[str, ...]:
        """Names of the slots; to find them takes a network."""
        return slot_names(self.run)

    def update(self, strategy: Strategy) -> None:
        """Add the trials that are new."""
        if isinstance(strategy, strategies.Tries):
            for number, tried in list(strategy.tried.items())[self.num :]:
                self.add(self._trial(number, tried))
            self.num = len(strategy.tried)

    def _trial(self, number: int, tried: Tried) -> Trial:
        choices = self.space.choose(self.slots, tried.indices)
        attributes: dict[str, object] = {"cost": tried.cost, "reports": list(tried.reports)}
        attributes["error"] = tried.error or None
        return Trial(
            number,
            describe(self.run, choices),
            tried.score,
            tried.seconds,
            tried.state,
            {key: value for key, value in attributes.items() if value not in (None, [])},
        )

    def add(self, trial: Trial) -> None:
        """Add one trial."""
        pairs = self.run.config.settings["pmpl.deadline"] == "pair"
        pairs = pairs and strategies.entry(self.run.config.strategy).spends == "epochs"
        record(self.study, trial, self.space, pairs=pairs)

    def write(self) -> None:
        """trials.csv."""
        write_trials_csv(self.study, self.run.folder.trials)


def slot_names(run: Run) -> tuple[str, ...]:
    """The slots that are searched, in network order."""
    chosen = run.config.group(SlotSettings).choose(all_slots(run))
    return tuple(slot.name for slot in chosen)


def all_slots(run: Run) -> tuple[Slot, ...]:
    """The slots of the backbone for the space, searched or not, in network order."""
    return backbones.slots(run.backbone, spaces.load_space(run.config.space))


def new_search(run: Run) -> Strategy:
    """The strategy at its start; it gets the search splits and nothing that leads to test data."""
    return strategies.resolve(run.config.strategy)(new_task(run))


def new_task(run: Run) -> Task:
    """All a strategy is handed."""
    config, plan, data = run.config, run.config.plan, run.dataset
    executor = config.group(ExecutorSettings)
    return Task(
        backbone=run.backbone,
        space=spaces.load_space(config.space),
        slots=slot_names(run),
        taken=Input(data.image_size, data.channels, data.mean, data.std),
        classes=data.classes,
        splits=data.search.to(run.fabric.device),
        augmentation=run.augmentation,
        recipe=config.group(Recipe),
        pmpl=config.group(PMPLSettings),
        sampling=config.group(SamplingSettings),
        stages=Stages(plan.warmup_epochs, plan.search_epochs, plan.adapt_epochs),
        trials=plan.trials,
        proxy=Proxy(plan.proxy_epochs, plan.proxy_images),
        seed=config.seed,
        fabric=run.fabric,
        costs=run.costs,
        caps=Caps(config.caps),
        pretrained=config.pretrained,
        metric=config.group(MetricSettings).metric,
        kernels=plan.kernels,
        batch=executor.batch,
        asynchronous=executor.asynchronous,
        executor=run.executor.trials,
    )


def describe(run: Run, choices: tuple[spaces.Choice, ...]) -> Architecture:
    """The architecture of these choices on this run's data."""
    data = run.dataset
    taken = Input(data.image_size, data.channels, data.mean, data.std)
    return Architecture(run.backbone, run.config.space, choices, taken, data.classes)


def retrain(run: Run, kind: str, index: int, architecture: Architecture) -> None:
    """Train the found or the plain network from scratch on the weights and alpha splits."""
    weights = run.folder.checkpoint / f"{kind}-{index}.safetensors"
    if weights.exists():
        return
    training = new_training(run, kind, index, architecture)
    drive(run, f"{kind}-{index}", training, {"phase": kind, "retrain_seed": index})
    checkpoint.save_weights(weights, training.network)


def new_training(run: Run, kind: str, index: int, architecture: Architecture) -> Fit:
    """A training at its start; the same seed gives found and plain the same batches."""
    seed = stream(run.config.seed, "retrain", index)
    with seeded(stream(seed, "weights")):
        network = network_of(kind, architecture, run.config.pretrained)
    images = run.dataset.search.training().to(run.fabric.device)
    return Fit(
        run.place(network),
        images,
        run.augmentation,
        run.config.group(Recipe),
        epochs=run.config.plan.retrain_epochs,
        seed=seed,
        fabric=run.fabric,
    )


def network_of(kind: str, architecture: Architecture, pretrained: bool = False) -> nn.Module:
    """The plain backbone, or the found network."""
    if kind == "plain":
        return start(architecture.backbone, pretrained)
    return realise(architecture, pretrained)


def drive(
    run: Recorded,
    name: str,
    trainer: Trainer,
    label: dict[str, Any],
    after: Callable[[dict[str, Any]], None] = lambda _: None,
) -> None:
    """Advance to the end, with a line of history and a checkpoint after every epoch; ``after``
    is called with the line before it is written."""
    path = run.folder.checkpoint / "state.pt"
    lines = _resumed(path, name, trainer)
    lines = lines_before(run, label) if lines is None else lines
    run.history.truncate(lines)

    def save() -> None:
        state = {"phase": name, "history_lines": lines, "trainer": trainer.state_dict()}
        checkpoint.save(path, state)

    while not trainer.finished:
        line = {**label, **_advanced(run, name, trainer, _teller(run, label, trainer, save))}
        run.folder.check_there()
        after(line)
        run.history.append(line)
        lines += 1
        save()
        run.progress.epoch(line)
    run.folder.check_there()


def _resumed(path: Path, name: str, trainer: Trainer) -> int | None:
    """Put a trainer where its checkpoint left it; the lines of history there were then, or None
    without a checkpoint."""
    state = checkpoint.load(path)
    if state is None:
        return None
    try:
        if state["phase"] == name:
            trainer.load_state_dict(state["trainer"])
        return int(state["history_lines"])
    except (KeyError, TypeError, ValueError, RuntimeError, AttributeError) as error:
        why = f"{type(error).__name__}: {' '.join(str(error).split())[:100]}"
        raise UserError(
            f"{path} holds the state of another run or version ({why}); delete it to start its "
            "phase again"
        ) from error


def _advanced(run: Recorded, name: str, trainer: Trainer, tick: Tick) -> dict[str, Any]:
    """One epoch or trial more. What is no number is told with its phase."""
    try:
        with preemption.stepping():
            return trainer.advance(tick)
    except Lost:
        if preemption.asked():  # all were told to end, and another one did so first
            raise preemption.Preempted from None
        raise
    except NotFinite as error:
        raise NotFinite(
            f"{run.folder.path}, {name}, epoch {trainer.epoch + 1}: {error}"
        ) from error


def lines_before(run: Recorded, label: dict[str, Any]) -> int:
    """The lines of the phases that came before: they stay when a checkpoint was deleted."""
    mark = label.get("phase", "search"), label.get("retrain_seed")
    lines = run.history.read()
    marks = [(line["phase"], line.get("retrain_seed")) for line in lines]
    return marks.index(mark) if mark in marks else len(lines)


def _teller(
    run: Recorded, label: dict[str, Any], trainer: Trainer, save: Callable[[], None]
) -> Tick:
    """Passes steps on to the progress display, with the phase and the epoch they belong to; where
    the process is to end, keeps what was done and ends it."""
    phase = label.get("phase", "search")
    epoch = run.epochs_before(label) + trainer.epoch + 1
    shares = shares_of(run.fabric)

    def tell(step: int, steps: int) -> None:
        run.progress.step(phase, epoch, step, steps)
        if shares.any(preemption.asked()):
            save()
            raise preemption.Preempted

    return tell


def load_architecture(folder: RunFolder) -> Architecture:
    """architecture.json."""
    return Architecture.from_json(read_json(folder.architecture), str(folder.architecture))


def load(folder: Path | str) -> nn.Module:
    """The retrained network of a finished run or of a cell of a comparison, in evaluation mode;
    of a folder of `rfsearch optimize` the proposed network, with random weights where it was not
    retrained.

    It takes normalised images (N, C, H, W), float32, and gives logits (N, classes).
    """
    from rfsearch.engine.optimized import OptimizedFolder  # its networks are torchvision's

    if optimized := OptimizedFolder.at(folder):
        return optimized.proposed()
    files = RunFolder.existing(folder)
    network = realise(load_architecture(files))
    checkpoint.load_weights(final_weights(files), network)
    return network.eval()


def final_weights(folder: RunFolder) -> Path:
    """Where the weights of the found network are, once it is finished. A cell of a comparison
    keeps those of all its trainings in its checkpoint; the first counts."""
    of_cell = folder.metrics.exists() and "arm" in read_json(folder.metrics)
    return folder.checkpoint / "found-0.safetensors" if of_cell else folder.weights
