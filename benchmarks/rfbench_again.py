"""What supernets found on RF-Bench, trained again by other seeds than the table's.

    python benchmarks/rfbench_again.py --seeds 2 --processes 2   # goes on where it stopped

The table has two trainings of a network, and a few networks are what ten searches find; so two
strategies are told apart no better than these networks are. Rows go to reports/rfbench/again.csv.
"""

from __future__ import annotations

import argparse
import itertools
from collections import Counter
from typing import Any

import rfbench
import rfbench_search
import rfbench_shortlist
import tables
from rfsearch.strategies.tabular import Indices, Table, name, of_name, read_table

ARMS = (("pmpl:alpha_batch=16", "16+8+4"), ("pmpl", "16+8+4"), ("pmpl", "7+14+3"),
        ("pmpl", "10+21+5"), ("pmpl-all", "4+8+2"), ("pmpl-mixed", "4+8+2"),
        ("pmpl-masked", "4+8+2"), ("darts", "4+8+2"),
        ("pmpl:mixing=subset:relaxation=mixed", "16+8+4"), ("pmpl-all", "8+4+2"))  # fmt: skip
"""Strategies and epochs whose networks are trained again."""
BEST = 20
"""So many of the table's best are trained again too: as many have the convolution everywhere
below them."""
PLACE = rfbench.REPORT / "again.csv"
COLUMNS = ("architecture", "seed", "test_accuracy")


def networks() -> list[Indices]:
    """The convolution everywhere, what was found, the most often first, the table's best, and
    what the default and trials behind it end in."""
    table, arms = read_table(rfbench.REPORT, rfbench.TABLE), rfbench_search.by_arm()
    found = Counter(of_name(row["architecture"]) for arm in ARMS for row in arms[arm])
    control = (0,) * len(table.shape.slots)
    ours = [one for one, _ in found.most_common()]
    return list(dict.fromkeys([control, *ours, *best(table), *rfbench_shortlist.found(table)]))


def best(table: Table) -> list[Indices]:
    """The `BEST` of the table, the best first."""
    return sorted(table.rows, key=table.accuracy, reverse=True)[:BEST]


def trained(network: Indices, seed: int) -> dict[str, Any]:
    """A row."""
    row, _ = rfbench.train(network, seed)
    return {column: row[column] for column in COLUMNS}


def train_all(num_seeds: int, num_processes: int) -> None:
    """What is missing, seed by seed, seeds behind the table's."""
    done = {(row["architecture"], row["seed"]) for row in tables.resumed(PLACE)}
    first = len(rfbench.SEEDS)
    todo = [(network, seed)
            for seed, network in itertools.product(range(first, first + num_seeds), networks())
            if (name(network), str(seed)) not in done]  # fmt: skip
    for number, row in enumerate(tables.made(trained, todo, num_processes), 1):
        tables.append(PLACE, COLUMNS, row)
        print(f"{number} of {len(todo)}:", *row.values(), flush=True)


def read() -> dict[Indices, list[float]]:
    """Network → test accuracies in %."""
    found: dict[Indices, list[float]] = {}
    for row in tables.read(PLACE):
        found.setdefault(of_name(row["architecture"]), []).append(
            100 * float(row["test_accuracy"])
        )
    return found


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=2, help="of each network")
    parser.add_argument("--processes", type=int, default=1, help="trainings at a time")
    given = parser.parse_args()
    train_all(given.seeds, given.processes)


if __name__ == "__main__":
    main()
