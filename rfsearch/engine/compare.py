"""`rfsearch compare`: arms × seeds at equal measured cost, one recipe, one frozen definition.

OUT/config.json       the definition with its hash, arms, seeds, one plan per arm
OUT/environment.json  versions, hardware, hashes
OUT/cells/ARM-SEED/   run folders: searches and controls
OUT/finals.csv        a row per final network
OUT/latency.json      of random networks: predicted by the table of operators, and measured
OUT/report.html

What arms have in common is made once: data, the table of costs, the plain network of each seed and
the other controls, random networks. Supernets are no part of it: each is trained for as many
epochs as its arm's own pace allows, so no two of them are the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from rfsearch.engine import compare_plan
from rfsearch.engine.company import company
from rfsearch.engine.compare_cells import Cell, begin_cell, carry_out_cell, controls
from rfsearch.engine.compare_cost import (
    announcement,
    dry_run,
    expected_seconds,
    num_trainings,
    processes,
)
from rfsearch.engine.compare_latency import latency_check
from rfsearch.engine.compare_plan import CompareRequest, parse_seeds
from rfsearch.engine.config import Config
from rfsearch.engine.costs import checked_costs, needed, told_objective
from rfsearch.engine.environment import environment
from rfsearch.engine.executors import Executor, executor
from rfsearch.engine.pace import Pace, equal_budget, long, pace, seconds_a_step, spends
from rfsearch.engine.plan import duration
from rfsearch.engine.run import Progress, Run, Silent, describe, new_training
from rfsearch.engine.settings import CompareSettings
from rfsearch.engine.start import (
    answers,
    check_place,
    check_proxy,
    load_data,
    prepare,
    stored_record,
)
from rfsearch.errors import UserError
from rfsearch.reporting import write_report
from rfsearch.reporting.progress import Progress as Display
from rfsearch.spaces import Architecture
from rfsearch.training.processes import precision_of
from rfsearch.training.ranks import check_alone
from rfsearch.trials import Claim, RunFolder, keep, kept, read_json, replacing, write_json


@dataclass(frozen=True)
class Comparison:
    """A settled comparison: the runs of its arms, which share data and device, and its record."""

    folder: Path
    runs: Mapping[str, Run]
    record: Mapping[str, Any]
    environment: Mapping[str, Any]

    @property
    def seeds(self) -> tuple[int, ...]:
        """Of the searches."""
        return tuple(self.record["seeds"])

    @property
    def first(self) -> Run:
        """Of the arms; controls are trained under its plan, which all share."""
        return next(iter(self.runs.values()))

    def cells(self) -> list[tuple[str, Run, Cell]]:
        """(phase of the progress, run, cell): random networks first, for ranks are checked on
        them, then seed by seed, so that a stopped comparison has whole seeds."""
        fixed = [(_phase(cell), self.first, cell) for cell in controls(self.first, self.seeds)]
        trainings = self.first.config.group(CompareSettings).retrain_seeds
        folders = {arm["name"]: arm["folder"] for arm in self.record["arms"]}
        searches = [
            (name, run, Cell(f"{folders[name]}-{seed}", name, "search", seed, trainings))
            for seed in self.seeds
            for name, run in self.runs.items()
        ]
        return [*searches, *fixed]

    def carry_out(self, run: Run, cell: Cell, networks: list[Architecture]) -> None:
        """One cell, to its metrics.json."""
        folder = RunFolder(self.folder / "cells" / cell.name)
        carry_out_cell(begin_cell(run, folder, cell, self.environment), cell, networks)

    def networks(self) -> list[Architecture]:
        """The random ones."""
        found = (cell.choices for cell in controls(self.first, self.seeds)
                 if cell.group == "sample")  # fmt: skip
        return [describe(self.first, choices) for choices in found if choices is not None]


def _phase(cell: Cell) -> str:
    return "random networks" if cell.group == "sample" else "controls"


def compare(request: CompareRequest) -> str:
    """Compare to the report, or go on to it; where it is."""
    check_alone("rfsearch compare")
    with Display() as display, Claim(request.folder) as claim:
        comparison = open_comparison(request, display, claim)
        display.note(announcement(comparison))
        again = replace(request, resume=True, plan=None, download=False)
        made = executor(request.executor, request.ray_address)
        with made.session(comparison.first.config, display.note):
            carry_out(comparison, display, again, made)
        page = write_report(comparison.folder)
    return f"Report: {page}"


def dry(request: CompareRequest) -> str:
    """The plan and its cost on this machine; nothing is written and nothing begun."""
    configs = compare_plan.settle_arms(request)
    stored = _begun(request) if request.resume else None
    with Display() as display:
        comparison = planned(request, configs, stored, display)
    if stored is not None:
        _check_same(request.folder, stored, comparison.record)
    return dry_run(comparison)


def open_comparison(
    request: CompareRequest, display: Progress, claim: Claim | None = None
) -> Comparison:
    """Check everything a person can get wrong, plan once, then make the folder.

    Args:
        claim: of the folder; taken before anything is written there or gone on with. None in a
            process that makes cells for another one, which holds the folder.
    """
    configs = compare_plan.settle_arms(request)
    stored = _begun(request)
    answers(kept(RunFolder(request.folder), request.storage))
    if stored is None:
        check_place(RunFolder(request.folder))
    elif claim is not None:
        claim.take()
    comparison = planned(request, configs, stored, display)
    if stored is not None:
        _check_same(request.folder, stored, comparison.record)
    else:
        if claim is not None:
            claim.take()
            _begun(replace(request, resume=False))  # another process may have been faster
        where = {k: v for k, v in comparison.environment.items() if k != "benchmark"}
        write_json(request.folder / "environment.json", where)
        write_json(request.folder / "config.json", comparison.record)
    study = keep(RunFolder(request.folder), request.storage)
    runs = {name: replace(run, kept=study) for name, run in comparison.runs.items()}
    return replace(comparison, runs=runs)


def planned(
    request: CompareRequest,
    configs: Mapping[str, Config],
    stored: Mapping[str, Any] | None,
    display: Progress,
) -> Comparison:
    """The comparison under its plans: of ``--plan``, of the folder's ``stored`` record, or timed
    now; nothing is written."""
    display.enter("data")
    dataset = load_data(next(iter(configs.values())), download=request.download)
    runs = {name: prepare(config, RunFolder(request.folder), dataset, Silent())
            for name, config in configs.items()}  # fmt: skip
    check_proxy(next(iter(runs.values())).config)  # random networks have that training too
    runs = with_costs(runs)
    first = next(iter(runs.values()))
    mixes = any(config.mixes for config in configs.values())
    where = environment(dataset, str(first.fabric.device), mixes=mixes,
                        kernels=first.config.plan.kernels, allocator=first.allocator,
                        precision=precision_of(first.fabric))  # fmt: skip
    source = request.plan or (request.folder / "config.json" if stored else None)
    if source is not None:
        settled = compare_plan.stored_plans(source, configs)
        expected = read_json(source)["expected"]
    else:
        display.note("timing real steps of every arm")
        settled, expected = plan_arms(request, runs)
    record = compare_plan.record(request, settled, where, expected)
    runs = {name: replace(run, config=settled[name]) for name, run in runs.items()}
    return Comparison(request.folder, runs, record, {**where, "benchmark": record["hash"]})


def with_costs(runs: Mapping[str, Run]) -> dict[str, Run]:
    """The runs with one table of costs, where a cap or an arm needs it."""
    needing = [run for run in runs.values() if needed(run.config)]
    if not needing:
        return dict(runs)
    measures = {name for run in needing for name in needed(run.config)}
    costs = checked_costs(needing[0], sorted(measures))
    return {name: replace(run, costs=costs) for name, run in runs.items()}


def _begun(request: CompareRequest) -> dict[str, Any] | None:
    """The record of the comparison that was begun in the folder."""
    return stored_record(RunFolder(request.folder), "comparison", resume=request.resume)


def _check_same(folder: Path, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    """The folder's benchmark, arms and seeds are those that are asked for."""
    if old["hash"] != new["hash"]:
        changed = ", ".join(compare_plan.differing(old["definition"], new["definition"]))
        raise UserError(
            f"{folder} is another benchmark: {changed} differ; results are not merged. "
            "Name another folder by --out"
        )
    for key in ("seeds", "arms", "compare"):
        if old[key] != new[key]:
            told = {"arms": "strategies or their settings", "compare": "compare.… settings"}
            raise UserError(
                f"{folder} was begun with other {told.get(key, key)}; give those it was begun "
                "with, or another --out"
            )


def plan_arms(
    request: CompareRequest, runs: Mapping[str, Run]
) -> tuple[dict[str, Config], dict[str, Any]]:
    """The arms under plans of equal cost, and what was timed to make them so."""
    first = next(iter(runs.values()))
    with company(processes(first) - 1):
        paces = {name: pace(run) for name, run in runs.items()}
        training = seconds_of_training(first)
    plans = {name: run.config.plan for name, run in runs.items()}
    kinds = {name: spends(run.config.strategy) for name, run in runs.items()}
    least = first.config.group(CompareSettings).least_trials
    seconds = search_seconds(request, runs, training)
    seconds, plans = equal_budget(paces, plans, kinds, least, seconds)
    _check_budget(request, seconds, paces, kinds)
    planned = {name: replace(run.config, plan=plans[name]) for name, run in runs.items()}
    objectives = {name: told_objective(run.config, run.costs) for name, run in runs.items()}
    expected = {
        "search_seconds": seconds,
        "training_seconds": training,
        "trial_seconds": {name: p.trial for name, p in paces.items() if p.trial},
        "once_seconds": {name: p.once for name, p in paces.items() if p.once},
        "objectives": {name: text for name, text in objectives.items() if text},
    }
    return planned, expected


def seconds_of_training(run: Run) -> float:
    """Expected seconds to train one final network."""
    cell = next(cell for cell in controls(run, [run.config.seed]) if cell.group == "sample")
    assert cell.choices is not None
    training = new_training(long(run), "found", 0, describe(run, cell.choices))
    size = training.descent.recipe.batch_size
    step = seconds_a_step(training.descent.step, run, training.images, size)
    return step * training.steps * run.config.plan.retrain_epochs


def search_seconds(
    request: CompareRequest, runs: Mapping[str, Run], training: float
) -> float | None:
    """What one search may cost under a duration; None under a named size."""
    whole = duration(request.budget)
    if whole is None:
        return None
    seeds = len(parse_seeds(request.seeds))
    trainings = num_trainings(next(iter(runs.values())), len(runs), seeds) * training
    return (whole - trainings) / (len(runs) * seeds)


def _check_budget(
    request: CompareRequest, seconds: float, paces: Mapping[str, Pace], kinds: Mapping[str, str]
) -> None:
    """A duration pays for one trial, or one epoch, of every arm at least."""
    for name, one in paces.items():
        least = one.trial if kinds[name] == "trials" else one.once / 20
        if seconds < least:
            raise UserError(
                f"--budget {request.budget} is too small for one trial of {name}: after the final "
                f"networks {max(seconds, 0):.0f} s are left to each search, and it takes "
                f"{least:.0f} s; give more, fewer --seeds or fewer --strategies"
            )


def carry_out(
    comparison: Comparison, display: Progress, again: CompareRequest, made: Executor
) -> None:
    """Every cell that is not done yet, then finals.csv.

    Args:
        again: opens the same comparison in another process.
        made: has the cells made, where more than one can be at a time.
    """
    cells, num = comparison.cells(), made.room() or processes(comparison.first)
    expected = comparison.record["expected"]
    phases = list(dict.fromkeys(phase for phase, _, _ in cells))
    teller = Teller(display, cells, num)
    display.start(
        [
            (phase, expected_seconds(phase, cells, expected) / num, teller.totals[phase])
            for phase in phases
        ]
    )
    open_cells = [(run, cell) for _, run, cell in cells if not teller.passed(comparison, cell)]
    if num > 1 and len(open_cells) > 1:
        names = [cell.name for _, cell in open_cells]
        made.share(comparison, again, names, num, teller.listen)
    else:
        networks = comparison.networks()
        for run, cell in open_cells:
            opened = replace(run, progress=_CellProgress(teller, cell.name))
            RunFolder(comparison.folder).check_there()
            comparison.carry_out(opened, cell, networks)
            teller.done(cell.name)
    write_finals(comparison)
    if not (path := comparison.folder / "latency.json").exists():
        write_json(path, latency_check(comparison.first, comparison.networks()))


def write_finals(comparison: Comparison) -> None:
    """finals.csv: a row per final network, from the metrics of the cells."""
    rows = []
    for _, _, cell in comparison.cells():
        found = read_json(comparison.folder / "cells" / cell.name / "metrics.json")
        rows += [_final(found, index, cell.name) for index in range(len(found["accuracies"]))]
    with replacing(comparison.folder / "finals.csv") as partial:
        pd.DataFrame(rows).to_csv(partial, index=False, lineterminator="\n")


def _final(found: Mapping[str, Any], index: int, cell: str) -> dict[str, Any]:
    """The row of one training of a cell's network."""
    trials = found.get("trials", {})
    return {
        "arm": found["arm"],
        "group": found["group"],
        "search_seed": found["seed"],
        "retrain_seed": index,
        "accuracy": found["accuracies"][index],
        **({"score": found["scores"][index]} if "scores" in found else {}),
        "params": found["params"],
        "macs": found["macs"],
        "window_ops": found["window_ops"],
        "latency_ms": 1000 * found["latency"]["seconds"],
        "search_seconds": found["search_seconds"],
        "retrain_seconds": found["retrain_seconds"][index],
        "selection_score": found.get("selection_score"),
        "proxy_score": found.get("proxy_score"),
        **{f"trials_{k}": trials.get(k) for k in ("complete", "pruned", "failed")},
        "cell": cell,
        "architecture": " | ".join(found["choices"].values()),
    }


class Teller:
    """Passes the progress of cells on to one display, whose phases are arms and controls.

    Seconds are divided by the number of cells that are made at a time, so that what is left is
    told rightly.
    """

    def __init__(
        self, display: Progress, cells: Sequence[tuple[str, Run, Cell]], num: int
    ) -> None:
        self.display, self.num = display, num
        self.phases = {cell.name: phase for phase, _, cell in cells}
        self.units = {cell.name: cell.units(run) for _, run, cell in cells}
        self.told = dict.fromkeys(self.units, 0)
        self.words = {phase: _word(run, cell) for phase, run, cell in cells}
        self.totals: dict[str, int] = {}
        for name, phase in self.phases.items():
            self.totals[phase] = self.totals.get(phase, 0) + self.units[name]

    def passed(self, comparison: Comparison, cell: Cell) -> bool:
        """Whether a cell was done before; then it is told as done."""
        done = (comparison.folder / "cells" / cell.name / "metrics.json").exists()
        if done:
            self.done(cell.name)
        return done

    def listen(self, kind: str, cell: str, payload: Any) -> None:
        """What a worker told."""
        if kind == "done":
            self.done(cell)
        else:
            self.epoch(cell, payload)

    def done(self, cell: str) -> None:
        """All units of a cell, those of an earlier process included."""
        self.told[cell] = self.units[cell]
        self._show(cell, {})

    def epoch(self, cell: str, line: Mapping[str, Any]) -> None:
        """One unit of a cell."""
        self.told[cell] = min(self.told[cell] + 1, self.units[cell])
        self._show(cell, line)

    def count(self, phase: str) -> int:
        """Units of a phase that are done."""
        return sum(self.told[name] for name, mine in self.phases.items() if mine == phase)

    def _show(self, cell: str, line: Mapping[str, Any]) -> None:
        phase = self.phases[cell]
        kept = {key: line.get(key) for key in ("loss", "accuracy")}
        if line.get("seconds") is not None:
            kept["seconds"] = line["seconds"] / self.num
        record = {"phase": phase, "epoch": self.count(phase), "epochs": self.totals[phase],
                  "unit": self.words[phase]}  # fmt: skip
        self.display.epoch({**record, **kept})


def _word(run: Run, cell: Cell) -> str:
    """What the units of a phase are: a search by trials is followed by epochs of training."""
    by_trials = cell.choices is None and spends(run.config.strategy) != "epochs"
    return "trials and epochs" if by_trials else "epochs"


class _CellProgress(Silent):
    def __init__(self, teller: Teller, cell: str) -> None:
        self.teller, self.cell = teller, cell

    def step(self, phase: str, epoch: int, step: int, steps: int) -> None:
        """A step inside of the cell."""
        del epoch
        phase = self.teller.phases[self.cell]
        self.teller.display.step(phase, self.teller.count(phase) + 1, step, steps)

    def epoch(self, record: dict[str, Any]) -> None:
        """An epoch or a trial of the cell."""
        self.teller.epoch(self.cell, record)
