"""A comparison read into memory: raw records alone, checked, nothing computed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from rfsearch.errors import UserError
from rfsearch.training.metrics import ACCURACY, named
from rfsearch.trials import History, RunFolder, read_json

COLUMNS = ("arm", "group", "search_seed", "retrain_seed", "accuracy", "params", "macs",
           "window_ops", "latency_ms", "search_seconds", "retrain_seconds", "cell",
           "architecture")  # fmt: skip
NEEDED = ("definition", "hash", "arms", "seeds", "expected", "budget", "compare")


@dataclass(frozen=True)
class Search:
    """One search of an arm: its trials, its epochs, its scores of the random networks."""

    arm: str
    seed: int
    cell: str
    trials: pd.DataFrame
    history: tuple[Mapping[str, Any], ...]
    ranks: tuple[float, ...]


@dataclass(frozen=True)
class CompareRecords:
    """Everything the page is made from; ``finals`` has a row per trained final network, its
    ``score`` the accuracy unless the comparison has another metric."""

    folder: Path
    config: Mapping[str, Any]
    environment: Mapping[str, Any]
    finals: pd.DataFrame
    searches: tuple[Search, ...]
    predictions: Mapping[str, pd.DataFrame]
    latency: Mapping[str, Any] | None = None

    @property
    def arms(self) -> tuple[str, ...]:
        """Names in the order they were given."""
        return tuple(arm["name"] for arm in self.config["arms"])

    @property
    def metric(self) -> str:
        """By what networks are scored, in words."""
        settings = self.config["definition"].get("settings", {})
        return named(settings.get("metric.name", ACCURACY)).words

    @property
    def seeds(self) -> tuple[int, ...]:
        """Of the searches."""
        return tuple(self.config["seeds"])


def is_comparison(folder: Path) -> bool:
    """Whether a folder's config.json is one of a comparison."""
    path = folder / "config.json"
    return path.is_file() and read_json(path).get("kind") == "compare"


def read(folder: Path) -> CompareRecords:
    """Read a finished comparison; a cell of another benchmark is refused."""
    config = read_json(folder / "config.json")
    if missing := [key for key in NEEDED if key not in config]:
        raise UserError(f"{folder / 'config.json'} lacks {', '.join(missing)}")
    finals = _finals(folder)
    for cell in sorted(set(finals["cell"])):
        _check(folder, cell, config["hash"])
    searches = tuple(
        _search(folder, arm["name"], seed, f"{arm['folder']}-{seed}")
        for arm in config["arms"]
        for seed in config["seeds"]
    )
    predictions = {
        search.cell: pd.read_csv(folder / "cells" / search.cell / "predictions.csv")
        for search in searches
    }
    environment = read_json(folder / "environment.json")
    path = folder / "latency.json"
    latency = read_json(path) if path.is_file() else None
    return CompareRecords(folder, config, environment, finals, searches, predictions, latency)


def _finals(folder: Path) -> pd.DataFrame:
    path = folder / "finals.csv"
    if not path.is_file():
        raise UserError(
            f"the comparison in {folder} is not finished: it holds no finals.csv; "
            "'rfsearch compare' with the options it was begun with and --resume goes on"
        )
    frame = pd.read_csv(path)
    if missing := [column for column in COLUMNS if column not in frame.columns]:
        raise UserError(f"{path} lacks the columns {', '.join(missing)}")
    return frame if "score" in frame.columns else frame.assign(score=frame["accuracy"])


def _check(folder: Path, cell: str, frozen: str) -> None:
    path = folder / "cells" / cell / "environment.json"
    if read_json(path).get("benchmark") != frozen:
        raise UserError(
            f"{path.parent} belongs to another benchmark than {folder}; its results cannot "
            "stand beside the others"
        )


def _search(folder: Path, arm: str, seed: int, cell: str) -> Search:
    files = RunFolder.existing(folder / "cells" / cell)
    ranks = files.path / "ranks.json"
    return Search(
        arm,
        seed,
        cell,
        pd.read_csv(files.trials),
        tuple(History(files.history).read()),
        tuple(read_json(ranks)["scores"]) if ranks.is_file() else (),
    )
