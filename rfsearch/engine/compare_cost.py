"""What a comparison will cost, told before anything of it is spent."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rfsearch.engine import compare_plan
from rfsearch.engine.compare_cells import Cell, controls
from rfsearch.engine.costs import reach
from rfsearch.engine.dry_run import FIXED_SECONDS, sizes
from rfsearch.engine.listing import searched, table
from rfsearch.engine.measure import peak_memory
from rfsearch.engine.run import Run, describe, network_of
from rfsearch.engine.settings import CompareSettings

if TYPE_CHECKING:
    from rfsearch.engine.compare import Comparison

PAGE = 6 * 2**20
"""Bytes of a report, whose larger part is the library that draws."""
A_PREDICTION = 5
"""Bytes of a number in predictions.csv."""


def num_trainings(run: Run, arms: int, seeds: int) -> int:
    """Of final networks in the whole comparison."""
    settings = run.config.group(CompareSettings)
    fixed = sum(cell.trainings for cell in controls(run, tuple(range(seeds))))
    return fixed + arms * seeds * settings.retrain_seeds


def announcement(comparison: Comparison) -> str:
    """Arms, cells and minutes, and in what the comparison is weaker than it should be."""
    record, expected = comparison.record, comparison.record["expected"]
    arms, seeds = len(comparison.runs), len(comparison.seeds)
    trainings = num_trainings(comparison.first, arms, seeds)
    num = processes(comparison.first)
    rows: list[tuple[str, ...]] = [("ARM", "ONE SEARCH", "SECONDS")]
    rows += [
        (name, searched(run.config), f"{expected['search_seconds']:.0f}")
        for name, run in comparison.runs.items()
    ]
    settings = comparison.first.config.group(CompareSettings)
    warned = compare_plan.warnings(comparison.seeds, settings.retrain_seeds)
    lines = [
        table(rows),
        f"{arms} arms x {seeds} seeds, then {trainings} trainings of final networks of "
        f"{expected['training_seconds']:.0f} s, {num} at a time: about "
        f"{seconds_of(comparison) / 60:.0f} min",
        *([f"Reduced here: {record['reduces']}"] if record["reduces"] else []),
        *(f"Weaker than it should be: {text}" for text in warned),
        *expected.get("objectives", {}).values(),
        *_caps(comparison),
    ]
    return "\n".join(lines)


def _caps(comparison: Comparison) -> list[str]:
    costs = comparison.first.costs
    caps = comparison.first.config.caps
    return [reach(costs, caps)] if costs is not None and caps else []


def dry_run(comparison: Comparison) -> str:
    """The plan of a comparison that is not begun: arms, cells, minutes, memory, disk."""
    cells, num = comparison.cells(), processes(comparison.first)
    expected = comparison.record["expected"]
    rows: list[tuple[str, ...]] = [("PHASE", "CELLS", "TRAININGS", "MINUTES")]
    for phase in dict.fromkeys(phase for phase, _, _ in cells):
        mine = [cell for name, _, cell in cells if name == phase]
        minutes = expected_seconds(phase, cells, expected) / num / 60
        trainings = sum(cell.trainings for cell in mine)
        rows.append((phase, str(len(mine)), str(trainings), f"{minutes:.1f}"))
    minutes = seconds_of(comparison) / 60
    rows.append(("start, report", "", "", f"{FIXED_SECONDS / 60:.1f}"))
    rows.append(("all", str(len(cells)), "", f"{minutes + FIXED_SECONDS / 60:.1f}"))
    memory, disk = num * peak_memory() / 2**30, disk_of(comparison) / 2**20
    return "\n".join(
        [
            announcement(comparison),
            "",
            table(rows),
            "",
            f"Timed on this machine. Memory of {num} process{'es' if num > 1 else ''} as far as "
            f"was tried {memory:.1f} GiB, disk {disk:.0f} MiB.",
            "Nothing was run or written; without --dry-run the comparison begins.",
        ]
    )


def seconds_of(comparison: Comparison) -> float:
    """Expected seconds of all cells, so many at a time as are made."""
    cells, expected = comparison.cells(), comparison.record["expected"]
    phases = dict.fromkeys(phase for phase, _, _ in cells)
    total = sum(expected_seconds(phase, cells, expected) for phase in phases)
    return total / processes(comparison.first)


def expected_seconds(
    phase: str, cells: Sequence[tuple[str, Run, Cell]], expected: Mapping[str, Any]
) -> float:
    """Of all cells of a phase, one after the other."""
    mine = [cell for name, _, cell in cells if name == phase]
    searches = sum(cell.choices is None for cell in mine)
    trainings = sum(cell.trainings for cell in mine)
    total: float = searches * expected["search_seconds"]
    return total + trainings * expected["training_seconds"]


def disk_of(comparison: Comparison) -> int:
    """Bytes of the finished folder: weights and states of every cell, predictions, the page."""
    searching = {name: sizes(run)[2] for name, run in comparison.runs.items()}
    params = _params(comparison.first)
    plan = comparison.first.config.plan
    test = plan.test_images or len(comparison.first.dataset.test)
    total = PAGE
    for _, _, cell in comparison.cells():
        total += 4 * params * (cell.trainings + 2)  # the last training's state stays
        total += A_PREDICTION * test * (cell.trainings + 3)
        total += 4 * 2 * searching.get(cell.arm, 0)
    return total


def _params(run: Run) -> int:
    """Of a network of the space, which hardly depends on its operators."""
    cell = next(cell for cell in controls(run, [run.config.seed]) if cell.group == "sample")
    assert cell.choices is not None
    network = network_of("found", describe(run, cell.choices))
    return sum(parameter.numel() for parameter in network.parameters())


def processes(run: Run) -> int:
    """That make cells: as set, else one for every so many cores of the CPU as a cell takes."""
    asked = run.config.group(CompareSettings).processes
    if asked or run.fabric.device.type != "cpu":
        return asked or 1
    return max(1, (os.cpu_count() or 1) // (run.config.plan.threads or os.cpu_count() or 1))
