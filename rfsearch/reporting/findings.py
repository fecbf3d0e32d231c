"""Known ways in which a softmax relaxation fails, looked for in a run and said in sentences."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from rfsearch.reporting import candidates, frames
from rfsearch.reporting.nulls import Band
from rfsearch.reporting.quantities import percent, plural
from rfsearch.reporting.records import Records
from rfsearch.reporting.trial_noise import trial_noise
from rfsearch.training.metrics import ACCURACY

PLAIN = ("identity", "conv")
"""What leaves a slot plain, in spaces that enhance and in those that replace."""
NEAR_UNIFORM = 0.95
"""Entropy of p as a share of its largest value, log K, from which on a slot is near uniform."""
COLLAPSE = 0.8
"""Share of the slots with one and the same operator from which on a search has collapsed."""
NEAR_CHANCE = 0.9
"""Loss of a supernet as a share of a guess's, log C for C classes, from which on it has hardly
learned."""
NULL_SHARE = 0.05
"""Share of slots that may freeze under the null control."""
NULL_RUNS = {
    "signs": "its alpha took random signs and learned nothing, so its choices are chance",
    "labels": "its alpha saw permuted labels, which shows where its gradient pulls by itself",
}


@dataclass(frozen=True)
class Finding:
    """One thing to know before trusting a run. ``name`` is stable, ``sentence`` for people."""

    name: str
    sentence: str


def findings(records: Records, null: Band | None) -> tuple[Finding, ...]:
    """Every failure mode that occurred, in the order in which it matters; empty if none did."""
    weights, freezes = frames.weights(records), frames.freezes(records)
    looked_for = (
        _null_run(records),
        _trials_alike(records),
        _untrained(records),
        _collapse(records),
        _near_uniform(weights),
        _same_winner(weights),
        _deadline(freezes),
        _inside_null(weights, null),
        _null_freezes(null),
    )
    return tuple(finding for finding in looked_for if finding is not None)


def entropy(weights: Sequence[float]) -> float:
    """Entropy as a share of the largest possible: 0 for one winner, 1 for uniform weights.

    >>> entropy([0.25] * 4), entropy([1.0, 0.0])
    (1.0, 0.0)
    """
    if len(weights) < 2:
        return 0.0
    total = -sum(share * math.log(share) for share in weights if share > 0)
    return abs(total / math.log(len(weights)))


def _trials_alike(records: Records) -> Finding | None:
    if records.metric != ACCURACY:
        return None
    images = records.environment["splits"]["selection"]["images"]
    noise = trial_noise(frames.trials(records), images)
    if noise is None or noise.told_apart:
        return None
    of_trainings = "longer trials (plan.proxy_epochs, plan.proxy_images) or "
    more = of_trainings if frames.has_own_trainings(records.history) else ""
    return Finding(
        "trials-alike",
        f"Trials that tell nothing apart: the scores of {plural(noise.num, 'network')} lie no "
        f"further apart than luck ({noise.words}), so which of them was kept is luck. "
        f"Try {more}more images to select by (plan.images).",
    )


def _untrained(records: Records) -> Finding | None:
    """Whether α moved by the losses of networks that guess."""
    epochs = frames.search_epochs(records)
    loss = float(epochs.loc[epochs["stage"] == "search", "loss"].mean())
    guess = math.log(len(records.classes))
    if not loss >= NEAR_CHANCE * guess:
        return None
    near = records.config.get("settings", {}).get("pmpl.near")
    is_near = near == "always" or (near == "auto" and not _is_residual(records))
    hint = "" if is_near else ", or pmpl.near=always, which keeps networks nearly plain"
    return Finding(
        "untrained",
        f"A supernet that hardly learned: while alpha moved its networks had a loss of {loss:.2f} "
        f"in the mean, and a guess has {guess:.2f}, so alpha went by noise. Try more "
        f"plan.warmup_epochs{hint}.",
    )


def _collapse(records: Records) -> Finding | None:
    chosen = [
        " + ".join(one.label for one in candidates.of_choice(choice))
        for choice in records.architecture["choices"]
    ]
    label = max(chosen, key=chosen.count)
    number = chosen.count(label)
    if len(chosen) < 2 or number < COLLAPSE * len(chosen):
        return None
    where = f"all {len(chosen)}" if number == len(chosen) else f"{number} of {len(chosen)}"
    sentence = f"Collapse to one operator: {where} slots hold {label}."
    if label == "identity" and number == len(chosen):
        sentence += (
            " The found network is the plain backbone." if _is_residual(records) else
            " In the paper's form each still adds a norm and an activation to the plain backbone."
        )  # fmt: skip
    return Finding("collapse", sentence)


def _is_residual(records: Records) -> bool:
    return all(choice.get("form") == "residual" for choice in records.architecture["choices"])


def _near_uniform(weights: pd.DataFrame) -> Finding | None:
    if weights.empty:
        return None
    last = weights.groupby("slot", sort=False).last()
    flat = sum(entropy(p) >= NEAR_UNIFORM for p in last["p"])
    if flat == 0:
        return None
    return Finding(
        "near-uniform",
        f"Nearly uniform weights: in {flat} of {len(last)} slots the entropy of p was still at "
        f"least {percent(NEAR_UNIFORM, 0)} of its maximum when the slot was decided. "
        "There the choice rests on a small lead.",
    )


def _same_winner(weights: pd.DataFrame) -> Finding | None:
    """Slots whose leader never changed, beside what K equal candidates would give by chance."""
    moving = weights[weights["stage"] != "warmup"]
    if moving.empty:
        return None
    slots = moving.groupby("slot", sort=False)["p"]
    first, last = slots.first(), slots.last()
    same = sum(
        frames.leader(one) == frames.leader(other) for one, other in zip(first, last, strict=True)
    )
    chance = len(first) / len(first.iloc[0])
    if same <= 2 * chance:
        return None
    return Finding(
        "same-winner",
        f"The same winner first and last: in {same} of {len(first)} slots the operator that led "
        f"after the first epoch of alpha also won; chance would give about {chance:.1f}. "
        "Either these choices are easy, or the start decided them.",
    )


def _deadline(freezes: pd.DataFrame) -> Finding | None:
    late = freezes[freezes["by_deadline"]]
    if late.empty:
        return None
    stayed = int((late["operator"].isin(PLAIN) & (late["operator"] != late["led"])).sum())
    but = (f", but that {stayed} stayed plain: another led there by less than the threshold "
           "(pmpl.deadline=argmax would keep it)" if stayed else "")  # fmt: skip
    return Finding(
        "deadline",
        f"Decided by the deadline: {len(late)} of {len(freezes)} slots did not hold the threshold "
        f"for long enough and kept whichever candidate led when the search stage ended{but}.",
    )


def _inside_null(weights: pd.DataFrame, null: Band | None) -> Finding | None:
    if null is None or weights.empty:
        return None
    last = weights.groupby("slot", sort=False).last()
    inside = sum(
        lead <= null.high_at(step)
        for lead, step in zip(last["gap"], last["alpha_steps"], strict=True)
    )
    if inside == 0:
        return None
    return Finding(
        "inside-null",
        f"Within the null band: in {inside} of {len(last)} slots the final lead is one that the "
        "null control of this budget reaches too, with an alpha that learns nothing.",
    )


def _null_freezes(null: Band | None) -> Finding | None:
    if null is None or null.frozen_share <= NULL_SHARE:
        return None
    return Finding(
        "null-freezes",
        f"Chance can freeze: under the null control of this budget {percent(null.frozen_share)} "
        f"of the slots freeze ({plural(null.num_seeds, 'seed')}).",
    )


def _null_run(records: Records) -> Finding | None:
    kind = str(records.config.get("settings", {}).get("pmpl.null", "off"))
    if kind == "off":
        return None
    words = NULL_RUNS.get(kind, "its alpha was disturbed on purpose")
    return Finding("null-run", f"This run is itself a control (pmpl.null = {kind}): {words}.")
