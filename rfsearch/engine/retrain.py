"""`rfsearch optimize --retrain`: original and proposed network trained by one recipe, measured.

The same means as of a run: `engine.run.drive` leaves a checkpoint and a line of history after
every epoch, so that a training that was stopped goes on, bit for bit. Of one training seed both
networks get the same batches in the same order. The test split is read at the very end, once per
network.
"""

from __future__ import annotations

import os
import shutil
import statistics
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from rfsearch import data
from rfsearch.data.request import DigitsSettings
from rfsearch.engine import allocator, passes
from rfsearch.engine import settings as settings_table
from rfsearch.engine.environment import environment
from rfsearch.engine.optimized import OptimizedFolder
from rfsearch.engine.plan import Plan
from rfsearch.engine.run import Progress, drive
from rfsearch.engine.settings import DataSettings, Scalar
from rfsearch.errors import UserError, unknown
from rfsearch.optimize.proposal import Optimized
from rfsearch.seeds import stream
from rfsearch.setting import check
from rfsearch.training import checkpoint
from rfsearch.training.evaluation import outputs
from rfsearch.training.fit import Fit
from rfsearch.training.metrics import accuracy, check_classes, named
from rfsearch.training.processes import fabric
from rfsearch.training.randomness import seeded
from rfsearch.training.recipe import Recipe
from rfsearch.trials import History, RunFolder, replacing, write_json

if TYPE_CHECKING:
    from lightning_fabric import Fabric

NETWORKS = ("original", "proposed")
GROUPS = ("recipe", "metric", "augment", "digits", "data")
"""Groups of settings that a retraining has."""
TIMED = 3
"""Steps behind the cost that is told first."""


@dataclass(frozen=True, kw_only=True)
class TrainingPlan:
    """Integers of a retraining; the keys of ``--set plan.NAME`` mean what they mean for a run."""

    images: int
    test_images: int
    retrain_epochs: int
    retrain_seeds: int = 3
    latency_runs: int = 50
    threads: int = 2

    def __post_init__(self) -> None:
        check(self, "plan", table=Plan)


BUDGETS = {
    "quick": TrainingPlan(images=4000, test_images=2000, retrain_epochs=8),
    "standard": TrainingPlan(images=12000, test_images=10000, retrain_epochs=30, threads=0),
    "paper": TrainingPlan(images=0, test_images=0, retrain_epochs=150, threads=0),
}
"""Budget → plan of a retraining; 0 stands for all images and threads."""


@dataclass(frozen=True)
class Training:
    """What is asked of a retraining.

    Attributes:
        settings: recipe, metric, augmentation and data, by key.
    """

    data: str
    budget: str
    seed: int
    plan: TrainingPlan
    settings: Mapping[str, Scalar]

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {"data": self.data, "budget": self.budget, "plan": asdict(self.plan),
                "settings": dict(self.settings)}  # fmt: skip


def settled(spec: str, budget: str, seed: int, assignments: tuple[str, ...]) -> Training:
    """The plan of a budget with what ``--set`` changes.

    Raises:
        UserError: a budget or a key that a retraining has not.
    """
    if budget not in BUDGETS:
        raise unknown("budget", budget, BUDGETS)
    given = settings_table.parse(assignments)
    usual = {key: value for key, value in settings_table.defaults().items()
             if key.partition(".")[0] in GROUPS}  # fmt: skip
    plan = {f"plan.{one.name}": getattr(BUDGETS[budget], one.name) for one in fields(TrainingPlan)}
    if wrong := sorted(set(given) - {*usual, *plan}):
        raise UserError(
            f"optimize takes no --set {', '.join(wrong)}; what --retrain can be told: "
            f"{', '.join([*plan, *(f'{group}.…' for group in GROUPS)])}"
        )
    plan |= {key: int(value) for key, value in given.items() if key in plan}
    settings = usual | {key: value for key, value in given.items() if key in usual}
    for group in ("recipe", "metric", "augment", "digits"):
        settings_table.group(settings_table.GROUPS[group], settings)
    made = TrainingPlan(**{key.removeprefix("plan."): value for key, value in plan.items()})
    return Training(spec, budget, seed, made, settings)


def dataset(training: Training, image_size: tuple[int, int], download: bool) -> data.Dataset:
    """The data of a retraining, large enough for its batches."""
    made = data.load(
        training.data,
        seed=int(training.settings["data.seed"]),
        image_size=image_size,
        images=training.plan.images or None,
        test_images=training.plan.test_images or None,
        download=download,
        channels=int(training.settings["data.channels"]),
        cache=settings_table.group(DataSettings, training.settings).cache_bytes,
        settings=settings_table.group(DigitsSettings, training.settings),
    )
    check_classes(str(training.settings["metric.name"]), len(made.classes), training.data)
    images, batch = len(made.search.training()), int(training.settings["recipe.batch_size"])
    if images < batch:
        raise UserError(
            f"{training.data} leaves {images} images to train on, fewer than a batch of {batch}; "
            "use --set recipe.batch_size=N"
        )
    return made


@dataclass(frozen=True)
class Retraining:
    """Both networks, the data and where files go.

    Attributes:
        images: to train on, on the device.
    """

    found: Optimized
    training: Training
    dataset: data.Dataset
    folder: RunFolder
    fabric: Fabric
    progress: Progress

    @property
    def history(self) -> History:
        """history.jsonl."""
        return History(self.folder.history)

    @property
    def recipe(self) -> Recipe:
        """How both are trained."""
        return settings_table.group(Recipe, self.training.settings)

    @property
    def augmentation(self) -> data.Augmentation:
        """How the images of training are varied."""
        settings = settings_table.group(data.AugmentationSettings, self.training.settings)
        made = self.dataset
        return data.Augmentation(settings, made.mean, made.std, made.flips)

    def epochs_before(self, label: Mapping[str, Any]) -> int:
        """Of the same network with other seeds."""
        return int(label["retrain_seed"]) * self.training.plan.retrain_epochs

    def network(self, kind: str) -> nn.Module:
        """Freshly initialised."""
        return self.found.module() if kind == "proposed" else self.found.original_module()

    def weights(self, kind: str, index: int) -> Any:
        """Where a finished training leaves its network."""
        return self.folder.checkpoint / f"{kind}-{index}.safetensors"

    def fit(self, kind: str, index: int) -> Fit:
        """A training at its start."""
        seed = stream(self.training.seed, "optimize", "retrain", index)
        with seeded(stream(seed, "weights")):
            network = self.network(kind)
        network.to(self.fabric.device).to(memory_format=torch.channels_last)
        images = self.dataset.search.training().to(self.fabric.device)
        return Fit(network, images, self.augmentation, self.recipe,
                   epochs=self.training.plan.retrain_epochs, seed=seed,
                   fabric=self.fabric)  # fmt: skip


def retrain(
    found: Optimized, training: Training, made: data.Dataset, folder: RunFolder, progress: Progress
) -> dict[str, Any]:
    """Train what is not trained yet and measure; the content of metrics.json."""
    torch.set_num_threads(training.plan.threads or os.cpu_count() or 1)
    run = Retraining(found, training, made, folder, fabric(), progress)
    freed = allocator.settle("auto", run.fabric.device.type)
    where = environment(made, str(run.fabric.device), allocator=freed)
    write_json(folder.environment, where)
    epochs = training.plan.retrain_epochs * training.plan.retrain_seeds
    phases: list[tuple[str, float | None, int]] = [(kind, None, epochs) for kind in NETWORKS]
    progress.start([*phases, ("measure", None, 0)])
    for index in range(training.plan.retrain_seeds):
        for kind in NETWORKS:
            _train(run, kind, index)
    progress.enter("measure")
    record = _measured(run)
    originals = OptimizedFolder(folder).original_weights
    for kind, path in (("proposed", folder.weights), ("original", originals)):
        with replacing(path) as partial:
            shutil.copyfile(run.weights(kind, 0), partial)
    write_json(folder.metrics, record)
    return record


def expected_seconds(
    found: Optimized, training: Training, made: data.Dataset, folder: RunFolder, progress: Progress
) -> float:
    """Of both networks and all seeds, by a few steps of each."""
    torch.set_num_threads(training.plan.threads or os.cpu_count() or 1)
    # so many epochs that the schedule has the steps that are timed
    plan = replace(training.plan, retrain_epochs=training.plan.retrain_epochs + TIMED)
    run = Retraining(found, replace(training, plan=plan), made, folder, fabric(), progress)
    allocator.settle("auto", run.fabric.device.type)
    total = 0.0
    for kind in NETWORKS:
        fit = run.fit(kind, 0)
        size = fit.descent.recipe.batch_size
        images = fit.images.pixels[:size].float()
        for number in range(TIMED + 1):
            if number == 1:  # the first one makes what the others use
                began = time.perf_counter()
            fit.descent.step(images, fit.images.labels[:size])
        total += (time.perf_counter() - began) / TIMED * fit.steps
    return total * training.plan.retrain_epochs * training.plan.retrain_seeds


def _train(run: Retraining, kind: str, index: int) -> None:
    path = run.weights(kind, index)
    if not path.exists():
        fit = run.fit(kind, index)
        drive(run, f"{kind}-{index}", fit, {"phase": kind, "retrain_seed": index})
        checkpoint.save_weights(path, fit.network)


def _measured(run: Retraining) -> dict[str, Any]:
    """Accuracies and scores by the metric on the test split, cost and latency of both; and how
    scores differ by seed."""
    networks: dict[str, dict[str, Any]] = {kind: {} for kind in NETWORKS}
    test = run.dataset.test.to(run.fabric.device)
    name, labels = str(run.training.settings["metric.name"]), test.labels.cpu().numpy()
    metric, modules = named(name), {}
    for kind in NETWORKS:
        told: dict[str, list[float]] = {"accuracies": [], "scores": []}
        for index in range(run.training.plan.retrain_seeds):
            modules[kind] = _trained(run, kind, index)
            logits = outputs(modules[kind], test, run.augmentation).float().cpu().numpy()
            told["accuracies"].append(accuracy(labels, logits))
            told["scores"].append(metric.of(labels, logits))
        networks[kind] |= {**told, **spread(told["scores"]), **_costs(run, kind)}
    for kind, latency in _latencies(run, modules).items():
        networks[kind]["latency"] = latency
    before, after = (networks[kind]["scores"] for kind in NETWORKS)
    gaps = [b - a for a, b in zip(before, after, strict=True)]
    return {
        "data": run.training.data,
        "budget": run.training.budget,
        "plan": asdict(run.training.plan),
        "seed": run.training.seed,
        "metric": name,
        "train_images": len(run.dataset.search.training()),
        "test": len(test),
        "networks": networks,
        "difference": {"by_seed": gaps, **spread(gaps)},
    }


def spread(values: list[float]) -> dict[str, float | None]:
    """Mean and standard deviation; of one value there is none."""
    deviation = statistics.stdev(values) if len(values) > 1 else None
    return {"mean": statistics.mean(values), "sd": deviation}


def _trained(run: Retraining, kind: str, index: int) -> nn.Module:
    network = run.network(kind)
    checkpoint.load_weights(run.weights(kind, index), network)
    return network.to(run.fabric.device).to(memory_format=torch.channels_last).eval()


def _costs(run: Retraining, kind: str) -> dict[str, float]:
    """Parameters, multiply-adds, and what all its trainings took."""
    before, (params, macs, _) = run.found.before, run.found.after
    seconds = [line["seconds"] for line in run.history.read() if line["phase"] == kind]
    cost = (before.params, before.macs) if kind == "original" else (params, macs)
    return {"params": cost[0], "macs": cost[1], "seconds": sum(seconds)}


def _latencies(run: Retraining, networks: Mapping[str, nn.Module]) -> dict[str, dict[str, Any]]:
    shape = (1, run.dataset.channels, *run.dataset.image_size)
    image = torch.rand(shape, device=run.fabric.device)
    taken = passes.seconds(networks, image, run.training.plan.latency_runs)
    return {kind: passes.latency(one, run.fabric.device) for kind, one in taken.items()}
