"""PMPL and then trials (`pmpl-trials`) on RF-Bench: real searches, and trials by replay.

Trials are of the networks that a recorded search (rfbench_search.py) put first, in the order in
which the strategy makes them; each costs and scores what one of its trainings in the table did.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

import rfbench_search
from means import spread
from rfbench_replay import TRIALS, Replays, at_cost
from rfsearch.strategies.proposal import Indices, Proposer, best
from rfsearch.strategies.shortlist import Ranked
from rfsearch.strategies.tabular import Table, of_name, regrets, replay

MARKS = (5, 10, 20)
"""Trials after which regret is told."""
REPLAYS = 10
"""Of each search, by other draws of the trainings that its trials are."""
CONTROLS_FIRST = "random, those of one operator first"
"""A control: what of the gain is that of the networks of one operator, which the list has too."""
SAMPLERS = ("random", "tpe", "gp")
COLUMNS = ("strategy", "epochs", "searches", "trials", "seconds", "regret",
           *(f"{told} at its cost" for told in (*SAMPLERS, CONTROLS_FIRST)))  # fmt: skip


def rows(table: Table, replays: Replays) -> Iterator[list[object]]:
    """One for each arm that was searched again, and number of trials."""
    controls = {**{name: replays[name] for name in SAMPLERS},
                CONTROLS_FIRST: controls_first(table)}  # fmt: skip
    for (arm, stages), searches in rfbench_search.of_confirmed().items():
        regret, spent = replayed(table, searches)
        for mark in MARKS:
            seconds = float(spent[:, mark - 1].mean())
            yield [arm, stages, len(searches), mark, f"{seconds:.0f}",
                   spread(regret[:, mark - 1], 2),
                   *(at_cost(*told, seconds) for told in controls.values())]  # fmt: skip


def replayed(table: Table, searches: Sequence[dict[str, str]]) -> tuple[Any, Any]:
    """Regret in points after every trial, and the seconds by then with those of the supernet: of
    every search, means over replays; (searches, trials)."""
    told = []
    for number, search in enumerate(searches):
        seeds = range(number * REPLAYS, (number + 1) * REPLAYS)
        both = np.mean(
            [_one(table, order(table, search), MARKS[-1], seed) for seed in seeds], axis=0
        )
        told.append((both[0], both[1] + float(search["seconds"])))
    regret, spent = np.swapaxes(told, 0, 1)
    return regret, spent


def found(table: Table) -> list[Indices]:
    """What the default's searches end in after the last of `MARKS`."""
    ends = []
    for number, search in enumerate(rfbench_search.by_default()):
        history = replay(table, order(table, search), MARKS[-1], number * REPLAYS)
        last = best(dict(enumerate(history)))
        assert last is not None
        ends.append(history[last].indices)
    return ends


def order(table: Table, search: dict[str, str]) -> Ranked:
    """What a search found, one operator everywhere, and the networks by its p."""
    p = [[float(value) for value in slot.split()] for slot in search["p"].split("|")]
    ahead = [of_name(search["architecture"]), *of_one_operator(table)]
    return Ranked(list(dict.fromkeys(ahead)), p)


def of_one_operator(table: Table) -> list[Indices]:
    """The networks of one operator everywhere; the first of the operators leaves them plain."""
    return [(k,) * len(table.shape.slots) for k in range(table.shape.num_operators)]


def controls_first(table: Table) -> tuple[Any, Any]:
    """Random search that tries one operator everywhere first: regrets and seconds, (searches,
    trials)."""
    drawn = np.random.default_rng(0)
    shape = table.shape
    searches = []
    for seed in range(100):
        others = drawn.integers(shape.num_operators, size=(TRIALS, len(shape.slots)))
        networks = [*of_one_operator(table), *map(tuple, others.tolist())]
        searches.append(_one(table, Ranked(networks, [[1.0]]), TRIALS, seed))
    regret, spent = np.swapaxes(searches, 0, 1)
    return regret, spent


def _one(table: Table, proposer: Proposer, trials: int, seed: int) -> Any:
    """Regrets and seconds after every trial: (2, trials)."""
    history = replay(table, proposer, trials, seed)
    spent = np.cumsum([tried.seconds for tried in history])
    return np.array([[100 * one for one in regrets(table, history)], spent])
