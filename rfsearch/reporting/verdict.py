"""What a run showed, in sentences that carry no more than its interval does.

One search is one search: below six search seeds no sentence calls the method better or worse
(Lindauer & Hutter 2020; Yang et al. 2020). What can be said is which of the two trained networks
scored higher on the untouched test split, by how much, and how far that stands from noise.
"""

from __future__ import annotations

from dataclasses import dataclass

from rfsearch.reporting import candidates, quantities
from rfsearch.reporting.quantities import percent, plural, points
from rfsearch.reporting.records import Difference, Latency, Network, Records
from rfsearch.spaces import Choice
from rfsearch.training.metrics import ACCURACY

SAME = "Every slot is as it was, so the two are one network, trained alike."
DEVICES = {"cpu": "the CPU", "cuda": "the GPU"}


@dataclass(frozen=True)
class Verdict:
    """The first lines of a report. ``tone`` is "above", "below" or "level" (the interval)."""

    headline: str
    interval: str
    seeds: str
    cost: str
    choices: str
    tone: str


def verdict(records: Records) -> Verdict:
    """Put the result of a finished run into words."""
    return Verdict(
        headline=_headline(records),
        interval=_interval(records),
        seeds=_seeds(records.difference.num_seeds) + _length(records),
        cost=cost(records.networks["plain"], records.networks["found"]),
        choices=_choices(records),
        tone=tone(records.difference),
    )


def tone(difference: Difference) -> str:
    """Where the interval lies: wholly above zero, wholly below, or across it ("level")."""
    if difference.low > 0:
        return "above"
    return "below" if difference.high < 0 else "level"


def _headline(records: Records) -> str:
    found, plain = records.networks["found"].score, records.networks["plain"].score
    by = "" if records.metric == ACCURACY else f"{records.metric} "
    if _unchanged(records):
        score = f"{by}{percent(plain)}"
        return f"The search changed nothing: what it found is the plain network, {score}."
    scores = f"{by}{percent(found)} against {percent(plain)}"
    step = points(records.difference.value)
    size = f"{step.lstrip(f'+{quantities.MINUS}')} points"
    if step.startswith("+"):
        return f"The found network scored {size} above the plain one: {scores}."
    if step.startswith(quantities.MINUS):
        return f"The found network is worse here, {size} below the plain one: {scores}."
    return f"The found network scored the same as the plain one: {scores}."


def _interval(records: Records) -> str:
    difference, test = records.difference, records.metrics["test"]
    where = f"{quantities.exact(test['images'])} untouched test images"
    if difference.num_sources and difference.num_sources != test["images"]:
        where += f" from {quantities.exact(difference.num_sources)} independent sources"
    level = f"{100 * difference.level:.0f} % interval"
    ends = f"{points(difference.low)} to {points(difference.high)} points"
    meaning = SAME if _unchanged(records) else _meaning(difference)
    return f"Measured on {where}; {level} of the difference {ends}. {meaning}"


def _unchanged(records: Records) -> bool:
    """Whether every slot is as the plain network has it."""
    return all(Choice.from_json(choice).is_plain for choice in records.architecture["choices"])


def _meaning(difference: Difference) -> str:
    words = {
        "above": "The interval lies above zero: this found network scores higher than this plain "
        "one by more than the choice of test images explains.",
        "below": "The interval lies below zero: this found network scores lower than this plain "
        "one by more than the choice of test images explains.",
        "level": "The interval contains zero: this run does not tell the two networks apart.",
    }
    return words[tone(difference)]


def _seeds(num_seeds: int) -> str:
    if num_seeds == 1:
        return (
            "One seed: one search and one training of each network. Another seed can come out "
            "differently, so nothing here says how good the method is on average."
        )
    return (
        f"One search seed, {quantities.spelled(num_seeds)} trainings of each network. Another "
        "search can come out differently, so nothing here says how good the method is on average."
    )


def _length(records: Records) -> str:
    """Of a gain, how briefly both were trained: published ones of ours went (reports/longer)."""
    epochs = (records.config.get("plan") or {}).get("retrain_epochs")
    if tone(records.difference) != "above" or not epochs:
        return ""
    return (
        f" Both were trained for {plural(epochs, 'epoch')}, and a gain of short training can go "
        "with longer: try a larger plan.retrain_epochs before you build on it."
    )


def cost(plain: Network, found: Network) -> str:
    """What the found network costs beside the plain one, in one line."""
    parts = [
        f"{what} {quantities.count(getattr(found, key))} "
        f"(plain {quantities.count(getattr(plain, key))})"
        for key, what in (
            ("params", "Parameters"),
            ("macs", "MACs"),
            ("window_ops", "window operations"),
        )
        if getattr(found, key) is not None and getattr(plain, key) is not None
    ]
    if found.latency and plain.latency:
        parts.append(
            f"latency {quantities.seconds(found.latency.seconds)} "
            f"(plain {quantities.seconds(plain.latency.seconds)}) {conditions(found.latency)}"
        )
    return "; ".join(parts) + "." if parts else "The cost of the networks was not measured."


def conditions(latency: Latency) -> str:
    """Under what a latency was measured."""
    threads = f", {plural(latency.threads, 'thread')}" if latency.threads else ""
    device = DEVICES.get(latency.device, latency.device)
    return f"per batch of {latency.batch}{threads} on {device}"


def _choices(records: Records) -> str:
    chosen = [candidates.of_choice(choice) for choice in records.architecture["choices"]]
    singles = [candidate for choice in chosen for candidate in choice]
    text = f"Chosen in {plural(len(chosen), 'slot')}: {candidates.count(singles)}"
    num_pairs = sum(len(choice) > 1 for choice in chosen)
    if num_pairs:
        text += f" ({plural(num_pairs, 'slot')} with a pair)"
    return text + "."
