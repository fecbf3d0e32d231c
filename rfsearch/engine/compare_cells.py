"""The cells of a comparison: a search or a control with the training and the test of its network.

A cell is a run folder. It is done when its metrics.json is there, written last; a stop loses at
most what is between two checkpoints of the cell in hand.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from torch import nn

from rfsearch import spaces
from rfsearch.backbones.realise import realise
from rfsearch.engine.costs import counted
from rfsearch.engine.measure import latency, load_trained, recorded_trials
from rfsearch.engine.run import (
    Run,
    describe,
    load_architecture,
    new_task,
    retrain,
    search,
    search_units,
    slot_names,
)
from rfsearch.engine.settings import CompareSettings, MetricSettings
from rfsearch.errors import UserError
from rfsearch.seeds import numbers, stream
from rfsearch.spaces import Architecture, Choice
from rfsearch.strategies import Strategy
from rfsearch.strategies.attempt import proxy_fit
from rfsearch.strategies.nni_oneshot import OneShot
from rfsearch.strategies.pmpl_search import PMPLSearch
from rfsearch.strategies.shortlist import Shortlist
from rfsearch.strategies.supernets import scorable
from rfsearch.strategies.within import HeldPMPL
from rfsearch.training import checkpoint
from rfsearch.training.evaluation import outputs
from rfsearch.training.fit import NotFinite
from rfsearch.training.metrics import ACCURACY, accuracy
from rfsearch.trials import RunFolder, read_json, replacing, write_json

OPEN = "before-the-first-freeze.pt"
RANKS = "ranks.json"


@dataclass(frozen=True)
class Cell:
    """One folder of cells/.

    Attributes:
        name: of the folder.
        arm: what stands in tables.
        group: ``search``, ``control`` or ``sample``.
        seed: the search seed, which the streams of training derive from.
        trainings: how often the network is trained.
        choices: of a control; None where they are searched for.
    """

    name: str
    arm: str
    group: str
    seed: int
    trainings: int
    choices: tuple[Choice, ...] | None = None

    def units(self, run: Run) -> int:
        """Steps of progress: of the search, and epochs of training."""
        training = self.trainings * run.config.plan.retrain_epochs
        return training + (search_units(run.config) if self.choices is None else 0)


def controls(run: Run, seeds: Sequence[int]) -> Iterator[Cell]:
    """Networks that were not searched: plain, one operator everywhere, identity in the paper's
    form, random networks."""
    settings = run.config.group(CompareSettings)
    space, slots = spaces.load_space(run.config.space), slot_names(run)
    form = "replace" if space.form == "replace" else "residual"
    plain = tuple(Choice(slot, form, (space.plain,)) for slot in slots)
    paper = tuple(Choice(slot, "paper", (spaces.Operator("identity"),)) for slot in slots)
    for seed in seeds:
        yield Cell(f"plain-{seed}", "plain", "control", seed, settings.retrain_seeds, plain)
    for seed in seeds[: settings.single_seeds]:
        if space.form != "replace":
            yield Cell(f"identity+paper-{seed}", "identity everywhere (paper)", "control", seed,
                       settings.retrain_seeds, paper)  # fmt: skip
        for index, operator in enumerate(space.operators):
            choices = space.choose(slots, [index] * len(slots))
            if choices not in (plain, paper):
                name = operator.label.replace(" ", "+")
                yield Cell(f"every+{name}-{seed}", f"{operator.label} everywhere", "control", seed,
                           settings.retrain_seeds, choices)  # fmt: skip
    for number, choices in enumerate(samples(run, settings.samples)):
        seed = seeds[number % len(seeds)]
        yield Cell(f"sample{number:02d}-{seed}", "random networks", "sample", seed,
                   settings.sample_seeds, choices)  # fmt: skip


def samples(run: Run, count: int) -> list[tuple[Choice, ...]]:
    """Random networks, all different where the space has so many; the same in every comparison."""
    space, slots = spaces.load_space(run.config.space), slot_names(run)
    rng = numbers(0, "compare", "samples")
    found: list[tuple[Choice, ...]] = []
    while len(found) < count:
        drawn = space.sample(slots, rng)
        if drawn not in found or len(found) >= space.size(len(slots)):
            found.append(drawn)
    return found


def carry_out_cell(run: Run, cell: Cell, networks: Sequence[Architecture]) -> None:
    """Search where it is one, train, read the test split once per network, write metrics.json.

    Args:
        networks: the random ones, that a supernet's ranks are checked on.
    """
    if run.folder.metrics.exists():
        return
    if cell.choices is None:
        search(run, lambda strategy, line: watch(run, strategy, line))
        supernet_scores(run, networks)
    elif not run.folder.architecture.exists():
        write_json(run.folder.architecture, describe(run, cell.choices).to_json())
    architecture = load_architecture(run.folder)
    for index in range(cell.trainings):
        retrain(run, "found", index, architecture)
    write_json(run.folder.metrics, measured(run, cell, architecture))


def watch(run: Run, strategy: Strategy, line: dict[str, Any]) -> None:
    """Keep a supernet's weights while nothing is frozen: as the first freeze finds them."""
    supernets = (PMPLSearch, HeldPMPL, OneShot, Shortlist)
    if isinstance(strategy, supernets) and line.get("frozen") == {}:
        checkpoint.save(run.folder.checkpoint / OPEN, {"network": strategy.supernet.state_dict()})


def supernet_scores(run: Run, networks: Sequence[Architecture]) -> None:
    """Scores of the random networks by the supernet's weights before its first freeze."""
    state = checkpoint.load(run.folder.checkpoint / OPEN)
    path = run.folder.path / RANKS
    if state is None or path.exists():
        return
    task = new_task(run)
    supernet = task.supernet()
    supernet.load_state_dict(state["network"])
    labels = {label: k for k, label in enumerate(task.space.labels)}
    scores = []
    for network in networks:
        supernet.keep({slot: (labels[label],) for slot, label in network.labels.items()})
        scored = scorable(task, supernet, stream(task.search_seed, "ranks"))
        scores.append(task.score(scored))
    write_json(path, {"scores": scores})


def measured(run: Run, cell: Cell, architecture: Architecture) -> dict[str, Any]:
    """The content of metrics.json; writes predictions.csv."""
    networks = trained(run, cell, architecture)
    record: dict[str, Any] = {
        "arm": cell.arm,
        "group": cell.group,
        "seed": cell.seed,
        **read_test_once(run, networks),
        **costs(run, architecture, networks[0]),
        **spent(run, cell),
        "choices": architecture.labels,
    }
    if cell.choices is None:
        record |= told_by_the_study(run)
    if cell.group == "sample":
        record["proxy_score"] = proxy_score(run, architecture)
    return record


def costs(run: Run, architecture: Architecture, network: nn.Module) -> dict[str, Any]:
    """Of one image, counted and measured."""
    data = run.dataset
    found = counted(realise(architecture), data.image_size, data.channels)
    return {**found, "latency": latency(run, network)}


def spent(run: Run, cell: Cell) -> dict[str, Any]:
    """Seconds of every training, and of the search."""
    lines = run.history.read()
    seconds = [
        sum(line["seconds"] for line in lines if line.get("retrain_seed") == index)
        for index in range(cell.trainings)
    ]
    searched = sum(line["seconds"] for line in lines if line["phase"] == "search")
    return {"retrain_seconds": seconds, "search_seconds": searched}


def told_by_the_study(run: Run) -> dict[str, Any]:
    """How many trials there were, and the selection score of the one that was kept."""
    trials = recorded_trials(run)
    states = [trial.state for trial in trials]
    return {
        "trials": {state: states.count(state) for state in ("complete", "pruned", "failed")},
        "selection_score": max(trial.score for trial in trials if trial.score is not None),
    }


def proxy_score(run: Run, architecture: Architecture) -> float | None:
    """The score of a random network by the cheap training that trials have."""
    task = new_task(run)
    indices = tuple(task.space.labels.index(label) for label in architecture.labels.values())
    fit = proxy_fit(task, indices, stream(task.search_seed, "proxy", *indices))
    try:
        while not fit.finished:
            fit.advance()
    except NotFinite:
        return None
    return task.score(fit.network)


def trained(run: Run, cell: Cell, architecture: Architecture) -> list[nn.Module]:
    """The final networks with their weights, in evaluation mode."""
    networks = []
    for index in range(cell.trainings):
        network = realise(architecture)
        load_trained(run, f"found-{index}", network)
        networks.append(run.place(network).eval())
    return networks


def read_test_once(run: Run, networks: Sequence[nn.Module]) -> dict[str, list[float]]:
    """Accuracies on the test split, and scores by the metric where that is another; every
    prediction goes to predictions.csv."""
    test = run.dataset.test.to(run.fabric.device)
    table: dict[str, Any] = {
        "index": np.arange(len(test)),
        "source": test.sources.cpu().numpy(),
        "label": test.labels.cpu().numpy(),
    }
    metric = run.config.group(MetricSettings)
    told: dict[str, list[float]] = {"accuracies": []}
    for index, network in enumerate(networks):
        logits = outputs(network, test, run.augmentation).float().cpu().numpy()
        table[f"found-{index}"] = logits.argmax(1)
        told["accuracies"].append(accuracy(table["label"], logits))
        if metric.name != ACCURACY:
            told.setdefault("scores", []).append(metric.metric.of(table["label"], logits))
    with replacing(run.folder.predictions) as partial:
        pd.DataFrame(table).to_csv(partial, index=False)
    return told


def begin_cell(run: Run, folder: RunFolder, cell: Cell, environment: Mapping[str, Any]) -> Run:
    """The run of one cell in its folder; ``environment["benchmark"]`` is the definition's hash,
    and a folder that has another is refused."""
    config = replace(run.config, seed=cell.seed)
    if not folder.config.exists():
        write_json(folder.environment, environment)
        write_json(folder.config, config.to_json())
    elif read_json(folder.environment).get("benchmark") != environment["benchmark"]:
        raise UserError(
            f"{folder.path} belongs to another benchmark; its results are not merged into this one"
        )
    study = run.kept and run.kept.of_cell(cell.name, folder)
    return replace(run, config=config, folder=folder, kept=study)
