"""RF-Bench: every network of a small space trained for real, so that searches can be replayed.

    python benchmarks/rfbench.py train --processes 2   # tells its cost; goes on where it stopped
    python benchmarks/rfbench.py pack                  # rows to reports/rfbench
    python benchmarks/rfbench.py check --rows 4        # trains rows of the table again

The space: the six spatial convolutions of RFNet-6 stay, or avg 3 or max 5 takes their place, 729
networks, two training seeds each. Enhancers behind the convolutions are no ground for a table:
their networks differ hardly more than two trainings of one of them
(`benchmarks/rfbench_forms.py`). A row is on disk as soon as it is trained; of one seed all
networks get the same images in the same order.
"""

from __future__ import annotations

import argparse
import gzip
import itertools
import math
import random
import statistics
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import tables
from rfsearch.strategies.tabular import (
    COLUMNS,
    EPOCH_COLUMNS,
    name,
    of_name,
    read_table,
    rows_hash,
)

SEEDS = (0, 1)
REPORT = Path(__file__).parent.parent / "reports" / "rfbench"
WORK = Path("runs/rfbench")
TABLE = "digits"
FORM = "replace"
SPACE = """description = "the convolution, avg 3 or max 5"
form = "{form}"
operators = [{operators}]
"""
PLACES = """
  { name = "depthwise", kernel = 3 },
  { name = "pf_avg", kernel = 3 },
  { name = "pf_max", kernel = 5 },
"""
BEHIND = """
  { name = "identity" },
  { name = "avg_pool", kernel = 3 },
  { name = "max_pool", kernel = 5 },
"""
OPERATORS = {FORM: PLACES, "residual": BEHIND, "paper": BEHIND}
"""The operators by form: each leaves the convolution, takes the mean of 3×3 or the maximum of
5×5."""
SETTINGS = ("backbone.stem=published", "plan.images=4000", "plan.retrain_epochs=8",
            "plan.threads=1")  # fmt: skip
PIXELS = 32
TIMED = 3
"""Trainings behind the cost that is told first, where none is done."""
LATENCY_RUNS = 30


@cache
def opened(form: str = FORM) -> Any:
    """The run whose data, recipe and plan all trainings have; nothing of it is written."""
    from rfsearch.engine.run import Silent
    from rfsearch.engine.start import load_data, prepare
    from rfsearch.trials import RunFolder

    config = settled(form)
    return prepare(config, RunFolder(WORK / "none"), load_data(config), Silent())


def settled(form: str = FORM, strategy: str = "pmpl", changes: tuple[str, ...] = ()) -> Any:
    """The configuration of that run, with what is usual for a strategy, and what is not."""
    from rfsearch.engine.config import Request, settle

    space = WORK / f"{TABLE if form == FORM else form}.toml"
    space.parent.mkdir(parents=True, exist_ok=True)
    told = SPACE.format(form=form, operators=OPERATORS[form])
    if not space.exists() or space.read_text(encoding="utf-8") != told:  # not by each process
        space.write_text(told, encoding="utf-8")
    return settle(Request(backbone="rfnet6", space=str(space), image_size=PIXELS, device="cpu",
                          strategy=strategy, assignments=(*SETTINGS, *changes)))  # fmt: skip


def networks() -> list[tuple[int, ...]]:
    """All of the space; the last slot changes fastest."""
    from rfsearch.engine.run import slot_names
    from rfsearch.spaces import load_space

    run = opened()
    num = len(load_space(run.config.space).operators)
    return list(itertools.product(range(num), repeat=len(slot_names(run))))


def train(
    network: tuple[int, ...], seed: int, form: str = FORM
) -> tuple[dict[str, Any], list[float]]:
    """Train one network; its row of the table, and selection accuracy after every epoch. The test
    split is read once, at the end."""
    import torch

    from rfsearch.engine import passes
    from rfsearch.engine.costs import counted
    from rfsearch.engine.run import new_training
    from rfsearch.training.evaluation import accuracy

    run = opened(form)
    data, run = run.dataset, replace(run, config=replace(run.config, seed=seed))
    training = new_training(run, "found", 0, architecture(network, form))
    epochs, began = [], time.process_time()
    while not training.finished:
        training.advance()
        epochs.append(accuracy(training.network, data.search.selection, run.augmentation))
    seconds = time.process_time() - began
    trained = training.network.eval()
    image = torch.rand(1, data.channels, *data.image_size)
    latencies = passes.seconds({"": trained}, image, LATENCY_RUNS)[""]
    row = {
        "architecture": name(network),
        "seed": seed,
        "selection_accuracy": f"{epochs[-1]:.6f}",
        "test_accuracy": f"{accuracy(trained, data.test, run.augmentation):.6f}",
        **counted(trained, data.image_size, data.channels),
        "latency": f"{statistics.median(latencies):.6f}",
        "seconds": f"{seconds:.2f}",
    }
    return row, epochs


def architecture(network: tuple[int, ...], form: str = FORM) -> Any:
    """Of operators by their places in the space."""
    from rfsearch.engine.run import describe, slot_names
    from rfsearch.spaces import load_space

    run = opened(form)
    return describe(run, load_space(run.config.space).choose(slot_names(run), network))


def train_all(num_processes: int, limit: int | None) -> None:
    """Train what is missing, one seed after the other, in an order that makes any beginning of it
    a fair sample."""
    done = {(row["architecture"], row["seed"]) for row in rows()[0]}
    todo = [(network, seed) for seed in SEEDS for network in shuffled()
            if (name(network), str(seed)) not in done]  # fmt: skip
    say_cost(len(todo), num_processes)
    todo = todo[:limit]
    began = time.perf_counter()
    for number, (row, epochs) in enumerate(tables.made(train, todo, num_processes), 1):
        keep(row, epochs)
        rest = (time.perf_counter() - began) / number * (len(todo) - number)
        print(f"{number} of {len(todo)}: {row['architecture']} seed {row['seed']} "
              f"test {float(row['test_accuracy']):.4f}, {rest / 3600:.1f} h left",
              flush=True)  # fmt: skip


def shuffled() -> list[tuple[int, ...]]:
    """Always in the same order."""
    order = networks()
    random.Random(0).shuffle(order)
    return order


def keep(row: dict[str, Any], epochs: list[float]) -> None:
    """The epochs first: a row says that all of a training is there."""
    for epoch, value in enumerate(epochs, 1):
        told = (row["architecture"], row["seed"], epoch, f"{value:.6f}")
        tables.append(WORK / f"{TABLE}_epochs.csv", EPOCH_COLUMNS,
                      dict(zip(EPOCH_COLUMNS, told, strict=True)))  # fmt: skip
    tables.append(WORK / f"{TABLE}.csv", COLUMNS, row)


def rows() -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    """Rows and epochs that are there, packed or not."""
    parts = ("", "_epochs")
    both = [tables.read(REPORT / f"{TABLE}{suffix}.csv.gz")
            + tables.resumed(WORK / f"{TABLE}{suffix}.csv") for suffix in parts]  # fmt: skip
    return unique(both[0], 2), unique(both[1], 3)


def unique(found: list[dict[str, str]], num_keys: int) -> list[dict[str, str]]:
    """One of each key, its first columns; the last one counts, for an earlier one may belong to a
    training that was stopped before its row was there."""
    return sorted({tuple(row.values())[:num_keys]: row for row in found}.values(),
                  key=lambda row: tuple(row.values())[:num_keys])  # fmt: skip


def say_cost(todo: int, num_processes: int) -> None:
    """Expected hours, by the rows there are, else by a few trainings."""
    told = [float(row["seconds"]) for row in rows()[0]]
    if not told and todo:
        chosen = random.Random(1).sample(networks(), TIMED)
        told = [float(train(network, SEEDS[0])[0]["seconds"]) for network in chosen]
    each = statistics.mean(told) if told else 0.0
    hours = todo * each / 3600
    by_all = hours / num_processes
    print(f"{todo} trainings of {each:.0f} s: {hours:.1f} hours of a core, {by_all:.1f} hours by "
          f"{num_processes} processes", flush=True)  # fmt: skip


def pack() -> None:
    """Rows, epochs and what they are of, to reports/rfbench."""
    from rfsearch.trials import replacing, write_json

    refuse_others()
    found, epochs = rows()
    trained = {(row["architecture"], row["seed"]) for row in found}
    epochs = [row for row in epochs if (row["architecture"], row["seed"]) in trained]
    for suffix, columns, records in (("", COLUMNS, found), ("_epochs", EPOCH_COLUMNS, epochs)):
        with replacing(REPORT / f"{TABLE}{suffix}.csv.gz") as partial:
            partial.write_bytes(gzip.compress(tables.text(columns, records).encode(), mtime=0))
    write_json(REPORT / f"{TABLE}.json", {**about(), "rows": rows_hash(found)})
    missing = read_table(REPORT, TABLE).missing
    print(f"{len(found)} rows packed, {missing} are not trained yet")


def about() -> dict[str, Any]:
    """The benchmark's definition."""
    from rfsearch.engine.compare_plan import definition, digest
    from rfsearch.engine.environment import environment
    from rfsearch.engine.run import slot_names
    from rfsearch.spaces import load_space

    run = opened()
    frozen = definition(run.config, environment(run.dataset, "cpu"))
    for changing in ("commit", "cpu", "platform", "cores"):
        frozen.pop(changing, None)
    return {
        "backbone": "rfnet6",
        "slots": list(slot_names(run)),
        "operators": list(load_space(run.config.space).labels),
        "seeds": list(SEEDS),
        "epochs": run.config.plan.retrain_epochs,
        "definition": frozen,
        "hash": digest(frozen),
    }


def refuse_others() -> None:
    """Rows of another benchmark than the packed one do not go into its table."""
    from rfsearch.trials import read_json

    stored = REPORT / f"{TABLE}.json"
    if stored.exists() and read_json(stored)["hash"] != about()["hash"]:
        raise SystemExit(f"{stored} is of another benchmark; move it away to begin a new table")


def check(num: int, seed: int) -> None:
    """Train rows of the table again, and tell how far off they are: not at all on the processor
    and with the versions they were made with, else by what other rounding does to a training."""
    both: list[tuple[float, float]] = []
    for row in random.Random(seed).sample(rows()[0], num):
        again = train(of_name(row["architecture"]), int(row["seed"]))[0]
        told = [(one["selection_accuracy"], one["test_accuracy"]) for one in (row, again)]
        both.append((float(row["test_accuracy"]), float(again["test_accuracy"])))
        print(row["architecture"], row["seed"], *told, flush=True)
    off = [100 * (now - then) for then, now in both]
    print(
        f"{off.count(0.0)} of {num} have the same test accuracy; it is off by "
        f"{statistics.mean(off):+.2f} points in the mean, {root_mean_square(off):.2f} in the root "
        f"mean square, and a network's two seeds by {root_mean_square(of_seeds()):.2f}"
    )


def of_seeds() -> list[float]:
    """Test accuracy of every network's second training above its first, points."""
    found: dict[str, list[float]] = {}
    for row in rows()[0]:
        found.setdefault(row["architecture"], []).append(100 * float(row["test_accuracy"]))
    return [second - first for first, second in found.values()]


def root_mean_square(values: Sequence[float]) -> float:
    """Of differences."""
    return math.sqrt(statistics.mean(one * one for one in values))


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("train", "pack", "check"))
    parser.add_argument("--processes", type=int, default=1, help="trainings at a time")
    parser.add_argument("--limit", type=int, help="trainings now; all by default")
    parser.add_argument("--rows", type=int, default=4, help="of the table, to be trained again")
    parser.add_argument("--seed", type=int, default=0, help="which rows are trained again")
    given = parser.parse_args()
    if given.what == "train":
        refuse_others()
        train_all(given.processes, given.limit)
    elif given.what == "pack":
        pack()
    else:
        check(given.rows, given.seed)


if __name__ == "__main__":
    main()
