"""Records as tables: one row per slot, per epoch, per slot and epoch, per freeze."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from rfsearch.errors import UserError
from rfsearch.reporting import candidates
from rfsearch.reporting.records import Records

AXES = ("h", "w")
SIZES = ("field", "effective_50", "effective_90")
BOUNDARY_KINDS = ("conv", "conv_transpose", "linear")
TRIAL = "trial"
"""The stage of a line of history that tells of a network's own cheap training."""


def slot_names(records: Records) -> tuple[str, ...]:
    """Full slot names in network order."""
    return tuple(str(choice["slot"]) for choice in records.architecture["choices"])


def short_names(names: Sequence[str]) -> dict[str, str]:
    """What tells the names apart: their parts without the leading and trailing ones all share.

    >>> short_names(["features.2.conv.1.0", "features.11.conv.1.0"])
    {'features.2.conv.1.0': '2', 'features.11.conv.1.0': '11'}
    >>> short_names(["layer1.0.conv1", "layer2.1.conv1"])
    {'layer1.0.conv1': 'layer1.0', 'layer2.1.conv1': 'layer2.1'}
    """
    parts = [name.split(".") for name in names]
    head = _num_shared(parts)
    tail = _num_shared([part[head:][::-1] for part in parts])
    shorts = [".".join(part[head : len(part) - tail]) for part in parts]
    usable = len(set(shorts)) == len(shorts) and all(shorts)
    return dict(zip(names, shorts if usable else names, strict=True))


def rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    """A table as one mapping per row."""
    return [{str(key): value for key, value in row.items()} for row in table.to_dict("records")]


def _num_shared(parts: Sequence[Sequence[str]]) -> int:
    """How many leading parts are the same in all; none where there is nothing to compare."""
    if len(parts) < 2:
        return 0
    shared = 0
    for column in zip(*parts, strict=False):
        if len(set(column)) > 1:
            return shared
        shared += 1
    return shared


def slots(records: Records) -> pd.DataFrame:
    """One row per slot: operator, window, map, and fields of the plain and the found network.

    A slot reaches from its convolution to the next one, so what stands in between (norm,
    activation, enhancer) belongs to it. Sizes are pixels of the input; columns are
    ``{field,effective_50,effective_90}_{plain,found}_{h,w}``, NaN where a file leaves them empty.
    """
    names = slot_names(records)
    shorts = short_names(names)
    rows = []
    for choice, name in zip(records.architecture["choices"], names, strict=True):
        chosen = candidates.of_choice(choice)
        plain = _span(records.plain_layers, name, "layers_plain.csv")
        found = _span(records.layers, name, "layers.csv")
        rows.append(
            {
                "slot": name,
                "short": shorts[name],
                "operator": " + ".join(one.label for one in chosen),
                "token": chosen[0].token,
                "kernel": max((one.kernel or 0 for one in chosen), default=0),
                "stride_h": int(found["stride_h"].iloc[0]),
                "stride_w": int(found["stride_w"].iloc[0]),
                "map_h": int(found["height"].iloc[0]),
                "map_w": int(found["width"].iloc[0]),
                **_sizes(plain, "plain"),
                **_sizes(found, "found"),
            }
        )
    return pd.DataFrame(rows)


def _span(layers: pd.DataFrame, slot: str, file: str) -> pd.DataFrame:
    """The rows of one slot: its convolution, or what stands in its place, and what follows, up to
    the next convolution."""
    names = [str(name) for name in layers["name"]]
    of_slot = [f"{name}.".startswith(f"{slot}.") for name in names]
    exactly = [index for index, name in enumerate(names) if name == slot]
    # an enhancer of the slot before may be a child of this convolution, and runs before it
    positions = exactly or [index for index, inside in enumerate(of_slot) if inside]
    if len(positions) == 0:
        raise UserError(f"{file} has no row for the slot {slot!r} of architecture.json")
    begin = positions[0]
    after = begin + 1
    while after < len(layers) and of_slot[after]:  # operators in place of the convolution
        after += 1
    later = layers["kind"].iloc[after:].isin(BOUNDARY_KINDS).to_numpy()
    end = after + (int(later.argmax()) if later.any() else len(later))
    return layers.iloc[begin:end]


def _sizes(span: pd.DataFrame, network: str) -> dict[str, float]:
    """The largest value of each size column inside a slot; NaN for an absent or empty column."""
    columns = {f"{kind}_{axis}": f"{kind}_{network}_{axis}" for kind in SIZES for axis in AXES}
    largest = span.reindex(columns=list(columns)).astype(float).max()
    return {name: float(largest[column]) for column, name in columns.items()}


def search_epochs(records: Records) -> pd.DataFrame:
    """One row per epoch of a supernet: losses, alpha steps, seconds, open and frozen slots."""
    rows = []
    for record in records.history:
        if record["phase"] != "search" or record.get("stage") == TRIAL:
            continue
        rows.append(
            {
                "epoch": int(record["epoch"]),
                "stage": str(record.get("stage", "search")),
                "loss": _number(record.get("loss")),
                "accuracy": _number(record.get("accuracy")),
                "alpha_loss": _number(record.get("alpha_loss")),
                "alpha_steps": int(record.get("alpha_steps") or 0),
                "seconds": _number(record.get("seconds")),
                "step_seconds": _number(record.get("step_seconds")),
                "num_frozen": len(record.get("frozen") or {}),
            }
        )
    columns = "epoch stage loss accuracy alpha_loss alpha_steps seconds step_seconds num_frozen"
    return pd.DataFrame(rows, columns=columns.split())


def retraining(records: Records) -> pd.DataFrame:
    """One row per epoch of the final trainings: network (found, plain), retrain seed, losses."""
    columns = [
        "phase",
        "retrain_seed",
        "epoch",
        "loss",
        "accuracy",
        "lr",
        "seconds",
        "step_seconds",
    ]
    rows = [
        {column: record.get(column) for column in columns}
        for record in records.history
        if record["phase"] in ("found", "plain")
    ]
    return pd.DataFrame(rows, columns=columns)


def has_own_trainings(history: Iterable[Mapping[str, Any]]) -> bool:
    """Whether a search made trials by training each network for itself."""
    return any(record.get("stage") == TRIAL for record in history)


def trials(records: Records) -> pd.DataFrame:
    """One row per trial in the order of their numbers, as in trials.csv; none of a search that
    ended in one network without trying others."""
    table = records.trials
    if table is None or len(table) < 2:
        return pd.DataFrame(columns=["number", "state", "score", "seconds"])
    return table.sort_values("number")


def _number(value: float | None) -> float:
    return float("nan") if value is None else float(value)


def freezes(records: Records) -> pd.DataFrame:
    """One row per freeze, in order of time.

    ``led`` is what was ahead in the averaged weights, which is what the rule looks at, and ``gap``
    its lead; ``p`` is the weight of what was kept, of the larger of two; all at the moment it
    froze. ``by_deadline`` says that the end of the search decided and not the rule.
    ``loss_before`` and ``loss_after`` are the loss around the freeze, where it was measured.
    """
    labels = [candidate.label for candidate in candidates.of_space(records.config)]
    last = max((r["epoch"] for r in records.history if r.get("stage") == "search"), default=0)
    rows = [
        {
            "slot": str(event["slot"]),
            "operator": " + ".join(str(label) for label in event["operators"]),
            "epoch": int(record["epoch"]),
            "alpha_step": int(event["alpha_step"]),
            **_lead(event, record, labels),
            "by_deadline": _is_deadline(event, record, last),
            "loss_before": _number(event.get("loss_before")),
            "loss_after": _number(event.get("loss_after")),
        }
        for record in records.history
        for event in record.get("froze") or ()
    ]
    columns = [
        "slot",
        "operator",
        "epoch",
        "alpha_step",
        "led",
        "p",
        "gap",
        "by_deadline",
        "loss_before",
        "loss_after",
    ]
    return pd.DataFrame(rows, columns=columns)


def _lead(
    event: Mapping[str, Any], record: Mapping[str, Any], labels: Sequence[str]
) -> dict[str, Any]:
    weights = _average(record, str(event["slot"])) or event["p"]
    kept = [labels.index(str(label)) for label in event["operators"]]
    return {
        "led": labels[leader(weights)],
        "p": max(event["p"][index] for index in kept),
        "gap": gap(weights),
    }


def _is_deadline(event: Mapping[str, Any], record: Mapping[str, Any], last: int) -> bool:
    """Whether time was up: as the event says, else after the last alpha step of the search."""
    if "by" in event:
        return bool(event["by"] == "deadline")
    return bool(record["epoch"] >= last and event["alpha_step"] >= record["alpha_steps"])


def _average(record: Mapping[str, Any], slot: str) -> Sequence[float]:
    """The averaged weights of a slot; empty before the first alpha step."""
    averages: Mapping[str, Sequence[float]] = record.get("average") or {}
    return averages.get(slot) or ()


def leader(weights: Sequence[float]) -> int:
    """The strongest candidate; of equals the first."""
    return max(range(len(weights)), key=lambda index: weights[index])


def gap(weights: Sequence[float]) -> float:
    """The lead of the strongest candidate over the second, 1 where there is but one.

    >>> gap([0.5, 0.25, 0.25]), gap([1.0])
    (0.25, 1.0)
    """
    ordered = sorted(weights, reverse=True)
    return float(ordered[0] - ordered[1]) if len(ordered) > 1 else 1.0


def weights(records: Records) -> pd.DataFrame:
    """One row per slot and epoch while the slot was open: ``p`` and ``average`` as tuples.

    At the epoch of its freeze a slot has the values it froze with (the average of a frozen slot
    stands still in the history); afterwards it has no rows. ``gap`` is the lead in the average.
    """
    rows: list[dict[str, Any]] = []
    closed: set[str] = set()
    for record in records.history:
        if not record.get("p"):
            continue
        events = {str(event["slot"]): event for event in record.get("froze") or ()}
        for slot, p in record["p"].items():
            event = events.get(slot)
            if slot in closed or (event is None and slot in (record.get("frozen") or {})):
                continue
            rows.append(_weight_row(record, slot, p, event))
        closed |= set(events)
    columns = ["slot", "epoch", "stage", "alpha_steps", "p", "average", "gap", "froze"]
    return pd.DataFrame(rows, columns=columns)


def _weight_row(
    record: Mapping[str, Any], slot: str, p: Sequence[float], event: Mapping[str, Any] | None
) -> dict[str, Any]:
    if event is not None:
        p = event["p"]
    average = _average(record, slot) or p
    return {
        "slot": slot,
        "epoch": int(record["epoch"]),
        "stage": str(record.get("stage", "search")),
        "alpha_steps": int((event or {}).get("alpha_step") or record.get("alpha_steps") or 0),
        "p": tuple(float(share) for share in p),
        "average": tuple(float(share) for share in average),
        "gap": gap(average),
        "froze": event is not None,
    }
