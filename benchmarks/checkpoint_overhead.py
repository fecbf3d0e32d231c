"""What a run spends on writing down where it is: checkpoints, history, study.

    python benchmarks/checkpoint_overhead.py     # writes reports/reliability/checkpoints.csv, .md

The default quick plans, an epoch of each stage in place of all (trials: ten), with every function
that writes timed by the clock and by the processor; the shares of the whole plan follow from its
numbers of epochs. By the processor other work on the machine matters little, but a disk that is
waited for does not show; by the clock both do. All runs on one thread here. Steps of a plan with
more would be faster, and writing would not, so the processor's seconds of steps are divided by the
plan's threads, as if they were faster by as much.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import tables
from rfsearch.engine import compare_cells
from rfsearch.engine import run as engine
from rfsearch.engine.config import Request
from rfsearch.engine.plan import PLANS, Plan
from rfsearch.engine.run import Silent
from rfsearch.engine.start import open_run

PLACE = Path(__file__).parents[1] / "reports" / "reliability"
COLUMNS = ("command", "stage", "epochs", "write_ms", "write_processor_ms", "seconds",
           "processor_seconds", "threads", "checkpoint_bytes", "load")  # fmt: skip
TRIALS = 10
WRITERS = (
    "rfsearch.training.checkpoint.save",
    "rfsearch.training.checkpoint.save_weights",
    "rfsearch.trials.History.append",
    "rfsearch.engine.run.record",
    "rfsearch.engine.run.write_trials_csv",
    "rfsearch.training.fit.Fit.state_dict",
    "rfsearch.strategies.pmpl_search.PMPLSearch.state_dict",
    "rfsearch.strategies.sampled.Sampled.state_dict",
)
"""All that `engine.run.drive` calls to put something down."""


@dataclass
class Clock:
    """Seconds inside of some functions, calls within calls counted once."""

    wall: float = 0.0
    processor: float = 0.0
    depth: int = 0

    @contextmanager
    def running(self) -> Iterator[None]:
        """Until the block ends."""
        began, used = time.perf_counter(), time.process_time()
        self.depth += 1
        try:
            yield
        finally:
            self.depth -= 1
            if not self.depth:
                self.wall += time.perf_counter() - began
                self.processor += time.process_time() - used

    def timing(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, timed."""

        def timed(*given: Any, **named: Any) -> Any:
            with self.running():
                return function(*given, **named)

        return timed

    def reset(self) -> None:
        """From nothing."""
        self.wall = self.processor = 0.0


@contextmanager
def timed(clock: Clock) -> Iterator[None]:
    """All that writes is timed."""
    import pkgutil

    with ExitStack() as stack:
        for name in WRITERS:
            place, _, last = name.rpartition(".")
            owner = pkgutil.resolve_name(place)
            stack.enter_context(patch.object(owner, last, clock.timing(getattr(owner, last))))
        yield


class Stages(Silent):
    """Takes the time of every epoch and trial, from the end of the one before."""

    def __init__(self, clock: Clock) -> None:
        self.clock, self.rows = clock, []
        self.begin()

    def begin(self) -> None:
        """A phase begins."""
        self.clock.reset()
        self.began, self.used = time.perf_counter(), time.process_time()

    def epoch(self, record: dict[str, Any]) -> None:
        """An epoch or trial is done and written down."""
        self.rows.append({
            "stage": record.get("stage", "retraining"),
            "write_ms": 1000 * self.clock.wall,
            "write_processor_ms": 1000 * self.clock.processor,
            "seconds": time.perf_counter() - self.began,
            "processor_seconds": time.process_time() - self.used,
        })  # fmt: skip
        print(self.rows[-1], flush=True)
        self.begin()


def measure(command: str, backbone: str, strategy: str, out: Path) -> list[dict[str, object]]:
    """An epoch of each stage, and of the retraining; or trials."""
    few = {"warmup_epochs": 1, "search_epochs": 1, "adapt_epochs": 1, "retrain_epochs": 1,
           "trials": TRIALS, "threads": 1}  # fmt: skip
    request = Request(backbone=backbone, strategy=strategy, device="cpu", out=out,
                      assignments=tuple(f"plan.{k}={v}" for k, v in few.items()))  # fmt: skip
    clock = Clock()
    stages = Stages(clock)
    run = open_run(request, stages)
    with timed(clock):
        stages.begin()
        kept = command.startswith("compare")  # it looks at the supernet before its first freeze
        watch = partial(compare_cells.watch, run) if kept else engine.unwatched
        engine.search(run, watch)
        stages.begin()
        engine.retrain(run, "found", 0, engine.load_architecture(run.folder))
    state = (run.folder.checkpoint / "state.pt").stat().st_size
    plan = PLANS[backbone, "quick"]
    return [mean(command, stage, rows, plan, state) for stage, rows in by_stage(stages.rows)]


def by_stage(rows: list[dict[str, Any]]) -> list[tuple[str, list[dict[str, Any]]]]:
    """In the order they came."""
    names = dict.fromkeys(row["stage"] for row in rows)
    return [(name, [row for row in rows if row["stage"] == name]) for name in names]


def mean(
    command: str, stage: str, rows: list[dict[str, Any]], plan: Plan, state: int
) -> dict[str, object]:
    """One row for a stage, with the epochs or trials that the whole plan has of it."""
    epochs = {"warmup": plan.warmup_epochs, "search": plan.search_epochs,
              "adapt": plan.adapt_epochs, "trial": plan.trials,
              "retraining": plan.retrain_epochs}[stage]  # fmt: skip
    numbers = ("write_ms", "write_processor_ms", "seconds", "processor_seconds")
    means = {name: round(sum(row[name] for row in rows) / len(rows), 3) for name in numbers}
    return {"command": command, "stage": stage, "epochs": epochs, **means,
            "threads": plan.threads, "checkpoint_bytes": state,
            "load": round(os.getloadavg()[1], 1)}  # fmt: skip


def shares(rows: list[dict[str, str]]) -> tuple[float, float]:
    """Of writing in the whole plan: by the processor, by the clock; in percent."""
    written, total = [0.0, 0.0], [0.0, 0.0]
    for row in rows:
        epochs, threads = int(row["epochs"]), int(row["threads"])
        cost = float(row["write_processor_ms"]) / 1000
        steps = (float(row["processor_seconds"]) - cost) / threads
        for k, (a, b) in enumerate(
            [(cost, cost + steps), (float(row["write_ms"]) / 1000, float(row["seconds"]))]
        ):
            written[k] += epochs * a
            total[k] += epochs * b
    return 100 * written[0] / total[0], 100 * written[1] / total[1]


def write_page(rows: list[dict[str, str]]) -> None:
    """checkpoints.md, from the table."""
    text = """# What it costs to be killed any time

    python benchmarks/checkpoint_overhead.py

Everything a run puts on disk to be gone on with (state, history, study; state_dict and fsync
included), against the epochs and trials it is put down after. The default quick plans; an epoch of
each stage measured, ten trials, and weighted by the plan's numbers of epochs. "Processor": seconds
of the CPU, measured on one thread, those of steps divided by the plan's threads (two for
mobilenetv2), as if they were faster by as much; other work on the machine matters little to it.
"Clock" has the disk in it, and whatever else the machine did meanwhile. A GPU, whose epochs take
less, was not measured.

| command | writing, by the processor | by the clock |
|---|---|---|
"""
    commands = dict.fromkeys(row["command"] for row in rows)
    for command in commands:
        processor, clock = shares([row for row in rows if row["command"] == command])
        text += f"| {command} | {processor:.2f} % | {clock:.2f} % |\n"
    text += "\n| command | stage | epochs or trials | one takes, s of the processor "
    text += "| its writing, ms | share | by the clock, ms |\n|---|---|---|---|---|---|---|\n"
    for row in rows:
        text += (f"| {row['command']} | {row['stage']} | {row['epochs']} "
                 f"| {float(row['processor_seconds']):.1f} "
                 f"| {float(row['write_processor_ms']):.0f} | {shares([row])[0]:.1f} % "
                 f"| {float(row['write_ms']):.0f} |\n")  # fmt: skip
    most = max(float(row["load"]) for row in rows)
    text += f"\nLoad of the machine meanwhile: up to {most:.1f} on two cores, which makes steps "
    text += "longer by\nthe clock and its share smaller; that of the processor holds.\n"
    (PLACE / "checkpoints.md").write_text(text)


CASES = (
    ("run --backbone mobilenetv2", "mobilenetv2", "pmpl"),
    ("compare: a cell of pmpl on rfnet6", "rfnet6", "pmpl"),
    ("compare: a cell of random on rfnet6", "rfnet6", "random"),
    ("compare: a cell of tpe on rfnet6", "rfnet6", "tpe"),
)


def main() -> None:
    """The command line."""
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    PLACE.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory(dir=".") as place:  # a disk, not a folder in memory
        for number, (command, backbone, strategy) in enumerate(CASES):
            rows += measure(command, backbone, strategy, Path(place) / str(number))
    tables.write(PLACE / "checkpoints.csv", COLUMNS, rows)
    write_page(tables.read(PLACE / "checkpoints.csv"))


if __name__ == "__main__":
    main()
