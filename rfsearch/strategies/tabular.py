"""Searches replayed on a table in which every network of a space is trained already.

A table is two files, which later tables extend by more columns and keys:

    table.json   {"format": 1, "backbone", "slots": [...], "operators": [...], "seeds": [...],
                  "definition": {...}, "hash"}
    table.csv    a row per network and training seed: network ("0-2-1-…", an operator of the list
                 for every slot), seed, score (selection split), accuracy (test split), seconds

Only strategies that sample can be replayed: a table holds no shared weights.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rfsearch.errors import UserError, unknown
from rfsearch.seeds import stream
from rfsearch.strategies.optuna_samplers import SamplingSettings
from rfsearch.strategies.proposal import Indices, Shape, Tried
from rfsearch.strategies.proposers import PROPOSERS
from rfsearch.trials.run_folder import read_json

NEEDED = ("network", "seed", "score", "accuracy", "seconds")


@dataclass(frozen=True)
class Row:
    """One training of one network; score and accuracy are shares of the selection and test
    splits."""

    score: float
    accuracy: float
    seconds: float


@dataclass(frozen=True)
class Table:
    """Network → one row per training seed."""

    about: Mapping[str, Any]
    rows: Mapping[Indices, tuple[Row, ...]]

    @property
    def shape(self) -> Shape:
        """What proposers see."""
        return Shape(tuple(self.about["slots"]), len(self.about["operators"]))

    @property
    def complete(self) -> bool:
        """Whether every network of the space is there with every seed."""
        wanted = self.shape.num_operators ** len(self.shape.slots)
        seeds = len(self.about["seeds"])
        return len(self.rows) == wanted and all(len(rows) == seeds for rows in self.rows.values())

    def accuracy(self, network: Indices) -> float:
        """Mean over seeds."""
        rows = self.rows[network]
        return sum(row.accuracy for row in rows) / len(rows)

    def best(self) -> float:
        """The largest mean accuracy."""
        return max(self.accuracy(network) for network in self.rows)


def name(network: Indices) -> str:
    """As it stands in the file.

    >>> name((0, 2, 1))
    '0-2-1'
    """
    return "-".join(map(str, network))


def read_table(folder: Path) -> Table:
    """The table in a folder."""
    about, path = read_json(folder / "table.json"), folder / "table.csv"
    if not path.is_file():
        raise UserError(f"there is no file {path}")
    found: dict[Indices, list[Row]] = {}
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        if missing := [column for column in NEEDED if column not in (reader.fieldnames or ())]:
            raise UserError(f"{path} lacks the columns {', '.join(missing)}")
        for record in reader:
            network = tuple(int(part) for part in record["network"].split("-"))
            row = Row(*(float(record[key]) for key in ("score", "accuracy", "seconds")))
            found.setdefault(network, []).append(row)
    return Table(about, {network: tuple(rows) for network, rows in found.items()})


def replay_on(
    table: Table, strategy: str, trials: int, seed: int, settings: SamplingSettings
) -> list[Tried]:
    """A search of so many trials; a trial costs and scores what one of its trainings did."""
    if strategy not in PROPOSERS:
        raise unknown("strategy that samples", strategy, PROPOSERS)
    proposer = PROPOSERS[strategy](table.shape, settings, stream(seed, "search"))
    history: list[Tried] = []
    for number in range(trials):
        proposal = proposer.ask()
        indices = proposal.indices
        if indices not in table.rows:
            raise UserError(f"the table lacks network {name(indices)}; train it to the end")
        rows = table.rows[indices]
        row = rows[stream(seed, "row", number) % len(rows)]
        history.append(Tried(indices, "complete", row.score, 0.0, (), row.seconds))
        proposer.tell(proposal.ticket, history[-1])
    return history


def regrets(table: Table, history: Sequence[Tried]) -> list[float]:
    """After every trial: the best accuracy of the table less that of the network with the
    highest score so far, as shares."""
    best, told, top = table.best(), [], -1.0
    current = 0.0
    for tried in history:
        if tried.score is not None and tried.score > top:
            top, current = tried.score, table.accuracy(tried.indices)
        told.append(best - current)
    return told
