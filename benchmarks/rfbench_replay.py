"""Black-box strategies on RF-Bench, by replay: a trial costs and scores what its training did.

python benchmarks/rfbench_replay.py --seeds 100 --processes 2   # reports/rfbench/replays.csv.gz
"""

from __future__ import annotations

import argparse
import gzip
import itertools
from functools import cache
from typing import Any

import numpy as np

import rfbench
import tables
from rfsearch.strategies.tabular import Table, read_table, regrets, replay_on

STRATEGIES = ("random", "tpe", "gp", "evolution", "nsga2", "asha", "nni-tpe", "nni-evolution")
TRIALS = 40
PLACE = rfbench.REPORT / "replays.csv.gz"
COLUMNS = ("strategy", "seed", "trial", "regret", "seconds")

Replays = dict[str, tuple[Any, Any]]
"""Strategy → regrets in points and seconds that went by, each (seeds, trials)."""


@cache
def whole() -> Table:
    """The table, read once by each process."""
    return read_table(rfbench.REPORT, rfbench.TABLE)


def replayed(strategy: str, seed: int) -> list[dict[str, Any]]:
    """A row for every trial of one search: the regret in points of the network with the highest
    score so far, and the seconds of all trials so far."""
    from rfsearch.strategies.optuna_samplers import SamplingSettings

    history = replay_on(whole(), strategy, TRIALS, seed, SamplingSettings())
    spent = itertools.accumulate(tried.seconds for tried in history)
    pairs = zip(regrets(whole(), history), spent, strict=True)
    return [
        {"strategy": strategy, "seed": seed, "trial": trial, "regret": f"{100 * regret:.4f}",
         "seconds": f"{seconds:.1f}"}
        for trial, (regret, seconds) in enumerate(pairs, 1)
    ]  # fmt: skip


def replay_all(num_seeds: int, num_processes: int) -> None:
    """Every strategy anew: a table that changed changes all of them."""
    todo = list(itertools.product(STRATEGIES, range(num_seeds)))
    rows = [row for search in tables.made(replayed, todo, num_processes) for row in search]
    rows.sort(key=lambda row: (STRATEGIES.index(row["strategy"]), row["seed"], row["trial"]))
    PLACE.write_bytes(gzip.compress(tables.text(COLUMNS, rows).encode(), mtime=0))


def read() -> Replays:
    """All that are packed; none where there are none yet."""
    rows = tables.read(PLACE)
    found: Replays = {}
    for strategy in dict.fromkeys(row["strategy"] for row in rows):
        own = [(float(row["regret"]), float(row["seconds"]))
               for row in rows if row["strategy"] == strategy]  # fmt: skip
        regret, spent = np.array(own).T.reshape(2, -1, TRIALS)
        found[strategy] = regret, spent
    return found


def at_cost(regret: Any, spent: Any, seconds: float) -> str:
    """Mean regret of a strategy that samples when so many seconds are gone."""
    num = trials_within(spent, seconds)
    return f"{np.mean([line[n - 1] for line, n in zip(regret, num, strict=True)]):.2f}"


def trials_within(spent: Any, seconds: float) -> Any:
    """How many trials of each search were begun within so many seconds, at least one."""
    return np.maximum((spent < seconds).sum(axis=1), 1)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=100, help="searches of every strategy")
    parser.add_argument("--processes", type=int, default=1, help="searches at a time")
    given = parser.parse_args()
    replay_all(given.seeds, given.processes)


if __name__ == "__main__":
    main()
