"""What the page of a comparison shows, computed from its raw records; nothing is drawn here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from rfsearch.reporting.compare_records import CompareRecords, Search
from rfsearch.reporting.compare_statistics import (
    Agreement,
    Contrast,
    Summary,
    agreement,
    band,
    best_so_far,
    contrast,
    holm,
    mcnemar,
    pareto,
    relative_improvement,
    summarise,
)
from rfsearch.reporting.trial_noise import TrialNoise, trial_noise
from rfsearch.training.metrics import ACCURACY

RANDOM_NETWORKS = "random networks"
PLAIN = "plain"


@dataclass(frozen=True)
class ArmResult:
    """One arm or control: scores by search seed (retrainings averaged), and its costs.

    ``improvement`` is relative to the mean of random networks; None where there are none.
    ``label`` says what forbids a verdict, such as "random in effect".
    """

    name: str
    group: str
    by_seed: dict[int, float]
    summary: Summary
    improvement: float | None
    search_seconds: float | None
    trials: tuple[int, int, int] | None
    label: str


@dataclass(frozen=True)
class Anytime:
    """Best score so far against seconds: mean, lowest and highest over seeds."""

    arm: str
    seconds: list[float]
    mean: list[float]
    low: list[float]
    high: list[float]
    num_seeds: int


@dataclass(frozen=True)
class Ranking:
    """A cheap score of the random networks beside ``truths``, what they reach trained alone;
    ``group`` is what scores of several seeds are drawn as."""

    predictor: str
    scores: tuple[float, ...]
    truths: tuple[float, ...]
    agreement: Agreement | None
    group: str = ""


@dataclass(frozen=True)
class Point:
    """One final network for the Pareto table."""

    name: str
    cell: str
    group: str
    score: float
    macs: float
    params: float
    latency: float
    window_ops: float
    efficient: bool


@dataclass(frozen=True)
class Latency:
    """Milliseconds of whole networks: predicted by the table of operators, and measured, where
    the plain network takes ``plain``, as it did when the table was made.

    ``error`` is the mean of |predicted − measured| / measured, ``bias`` that of the signed one.
    """

    predicted: tuple[float, ...]
    measured: tuple[float, ...]
    plain: float
    choices: tuple[tuple[str, ...], ...]
    error: float
    bias: float
    agreement: Agreement | None


@dataclass(frozen=True)
class Pair:
    """McNemar's test of two final networks on the same test images."""

    seed: int
    first: str
    second: str
    only_first: int
    only_second: int
    p: float


def by_seed(finals: pd.DataFrame, arm: str) -> dict[int, float]:
    """Search seed → score, the trainings of a seed averaged first."""
    mine = finals[finals["arm"] == arm]
    means = mine.groupby("search_seed")["score"].mean()
    return {int(str(seed)): float(value) for seed, value in means.items()}


def results(records: CompareRecords) -> list[ArmResult]:
    """Arms in their order, then controls and the random networks, best mean first."""
    finals = records.finals
    arms = list(records.arms)
    rest = [name for name in dict.fromkeys(finals["arm"]) if name not in arms]
    found = [_result(records, name) for name in arms]
    controls = [_result(records, name) for name in rest]
    return found + sorted(controls, key=lambda one: -one.summary.mean)


def _result(records: CompareRecords, name: str) -> ArmResult:
    finals = records.finals
    mine = finals[finals["arm"] == name]
    random_mean = _mean_of(finals, RANDOM_NETWORKS)
    group = str(mine["group"].iloc[0])
    means = by_seed(finals, name)
    values = list(mine["score"]) if group == "sample" else list(means.values())
    summary = summarise(values)
    improvement = relative_improvement(summary.mean, random_mean) if random_mean else None
    searched = group == "search"
    seconds = mine.groupby("search_seed")["search_seconds"].first().mean() if searched else None
    return ArmResult(
        name,
        group,
        means,
        summary,
        improvement,
        None if seconds is None else float(seconds),
        _trials(records, name) if searched else None,
        _label(records, name) if searched else "",
    )


def _mean_of(finals: pd.DataFrame, arm: str) -> float | None:
    mine = finals[finals["arm"] == arm]["score"]
    return float(mine.mean()) if len(mine) else None


def _trials(records: CompareRecords, arm: str) -> tuple[int, int, int]:
    states = pd.concat([s.trials["state"] for s in records.searches if s.arm == arm])
    complete, pruned, failed = (
        int((states == state).sum()) for state in ("complete", "pruned", "failed")
    )
    return complete, pruned, failed


def _label(records: CompareRecords, arm: str) -> str:
    """What forbids a verdict on an arm."""
    told = next(one for one in records.config["arms"] if one["name"] == arm)
    mine = [search for search in records.searches if search.arm == arm]
    complete = min(int((search.trials["state"] == "complete").sum()) for search in mine)
    if told["start"] is not None and complete <= told["start"]:
        return "random in effect"
    least = records.config["compare"]["least_trials"]
    tried = min(len(search.trials) for search in mine)
    if told["spends"] == "trials" and tried < least:
        return f"fewer than {least} trials"
    return ""


def contrasts(records: CompareRecords) -> list[Contrast]:
    """Every arm against random search, random networks and plain, Holm over all of them; arms
    that are random in effect stay out."""
    arms = [one for one in results(records) if one.group == "search" and not one.label]
    references = ["random", RANDOM_NETWORKS, PLAIN]
    found = []
    for arm in arms:
        for name in references:
            other = by_seed(records.finals, name)
            seeds = sorted(set(arm.by_seed) & set(other))
            if name != arm.name and seeds:
                pairs = [[values[seed] for seed in seeds] for values in (arm.by_seed, other)]
                found.append(contrast(arm.name, name, *pairs))
    return holm(found)


def anytime(records: CompareRecords) -> list[Anytime]:
    """Curves of the arms that make trials; a supernet has one point, where it ends."""
    found = []
    for arm in records.arms:
        mine = [search for search in records.searches if search.arm == arm]
        curves = [_curve(search) for search in mine]
        if all(costs for costs, _ in curves):
            found.append(Anytime(arm, *band(curves), num_seeds=len(curves)))
    return found


def _curve(search: Search) -> tuple[list[float], list[float]]:
    scores = [None if np.isnan(score) else float(score) for score in search.trials["score"]]
    seconds = [float(value) for value in search.trials["seconds"]]
    spent = sum(line["seconds"] for line in search.history if line["phase"] == "search")
    if seconds:  # a supernet's training comes before its trials
        seconds[0] += max(0.0, spent - sum(seconds))
    return best_so_far(seconds, scores)


def rankings(records: CompareRecords) -> list[Ranking]:
    """By every supernet, and by the cheap training of trials."""
    samples = records.finals[records.finals["group"] == "sample"]
    per_cell = samples.groupby("cell", sort=True)
    truths = [float(value) for value in per_cell["score"].mean()]
    found = [
        replace(
            _ranking(f"supernet of {search.arm}, seed {search.seed}", search.ranks, truths),
            group=f"supernet of {search.arm}",
        )
        for search in records.searches
        if len(search.ranks) == len(truths)
    ]
    proxies = [float(value) for value in per_cell["proxy_score"].first()]
    known = [index for index, score in enumerate(proxies) if not np.isnan(score)]
    if known:
        found.append(
            _ranking(
                "cheap training of a trial",
                [proxies[index] for index in known],
                [truths[index] for index in known],
            )
        )
    return found


def trial_noises(records: CompareRecords) -> dict[str, list[TrialNoise]]:
    """Of every arm that tries networks, the spread of each search's scores; none of scores other
    than accuracy."""
    if records.metric != ACCURACY:
        return {}
    images = records.environment["splits"]["selection"]["images"]
    found: dict[str, list[TrialNoise]] = {}
    for search in records.searches:
        if (noise := trial_noise(search.trials, images)) is not None:
            found.setdefault(search.arm, []).append(noise)
    return found


def _ranking(name: str, scores: Sequence[float], truths: Sequence[float]) -> Ranking:
    return Ranking(name, tuple(scores), tuple(truths), agreement(scores, truths))


def points(records: CompareRecords) -> list[Point]:
    """A point per final network, its trainings averaged."""
    cells = records.finals.groupby("cell", sort=False)
    means = cells[["score", "macs", "params", "latency_ms", "window_ops"]].mean()
    rows: list[list[float]] = means.to_numpy().tolist()
    best = pareto([row[:4] for row in rows])
    heads = zip(means.index, cells["arm"].first(), cells["group"].first(), strict=True)
    return [
        Point(str(name), str(cell), str(group), row[0], row[1], row[2], row[3], row[4], good)
        for (cell, name, group), row, good in zip(heads, rows, best, strict=True)
    ]


def latency(records: CompareRecords) -> Latency | None:
    """The table of operators against whole networks; None where nothing was measured."""
    if records.latency is None:
        return None
    networks, plain = records.latency["networks"], float(records.latency["backbone_ms"])
    predicted = [float(one["predicted_ms"]) for one in networks]
    measured = [plain * one["measured_ms"] / one.get("plain_ms", plain) for one in networks]
    off = [(p - m) / m for p, m in zip(predicted, measured, strict=True)]
    return Latency(
        tuple(predicted),
        tuple(measured),
        plain,
        tuple(tuple(one["choices"]) for one in networks),
        sum(map(abs, off)) / len(off),
        sum(off) / len(off),
        agreement(predicted, measured) if len(off) > 1 else None,
    )


def pairs(records: CompareRecords) -> list[Pair]:
    """McNemar within each seed: the first arm's network against every other arm's."""
    cells = {(search.arm, search.seed): search.cell for search in records.searches}
    first, *others = records.arms
    found = []
    for seed in records.seeds:
        for other in others:
            rights = [_right(records.predictions[cells[arm, seed]]) for arm in (first, other)]
            found.append(Pair(seed, first, other, *mcnemar(*rights)))
    return found


def _right(predictions: pd.DataFrame) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    right: np.ndarray[tuple[int], np.dtype[np.bool_]] = (
        predictions["found-0"].to_numpy() == predictions["label"].to_numpy()
    )
    return right


def chosen(records: CompareRecords) -> list[tuple[str, int, list[str]]]:
    """(arm, seed, operator per slot) of every search."""
    finals = records.finals.drop_duplicates("cell").set_index("cell")
    return [
        (search.arm, search.seed, str(finals["architecture"][search.cell]).split(" | "))
        for search in records.searches
    ]


def broken(records: CompareRecords) -> list[tuple[str, int, int, str, str, float]]:
    """(arm, seed, trial, state, what the slots held, seconds) of pruned and failed trials."""
    known = ("number", "state", "score", "seconds", "cost", "reports", "error")
    found = []
    for search in records.searches:
        slots = [column for column in search.trials.columns if column not in known]
        for row in search.trials[search.trials["state"] != "complete"].to_dict("records"):
            held = " | ".join(str(row[slot]) for slot in slots)
            found.append(
                (search.arm, search.seed, int(row["number"]), str(row["state"]), held,
                 float(row["seconds"]))
            )  # fmt: skip
    return found
