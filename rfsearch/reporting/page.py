"""One offline HTML page from a run folder: everything inlined, every string escaped.

The page asks the network for nothing, and a content security policy in it says so to the browser.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rfsearch.reporting import (
    candidates,
    charts,
    field_records,
    frames,
    nulls,
    quantities,
    tables,
)
from rfsearch.reporting.findings import findings
from rfsearch.reporting.records import Difference, Records, read
from rfsearch.reporting.template import base, put, template
from rfsearch.reporting.verdict import verdict
from rfsearch.trials import RunFolder


@dataclass(frozen=True)
class Scale:
    """The difference and its interval as shares of the width of a small picture."""

    zero: float
    low: float
    high: float
    value: float


def write(run_folder: Path) -> Path:
    """Read, render and put ``report.html`` in place as a whole or not at all."""
    return put(render(read(run_folder)), RunFolder(run_folder).report)


def render(records: Records, curves: Path = nulls.CURVES) -> str:
    """The page as text."""
    return template("page.html").render(_content(records, curves))


def _content(records: Records, curves: Path) -> dict[str, Any]:
    known = not records.config["changed"]
    null = nulls.band(*charts.benchmark(records), curves=curves) if known else None
    return {
        "name": records.folder.resolve().name,
        "records": records,
        "dials": _dials(records),
        "verdict": verdict(records),
        "difference": records.difference,
        "networks": records.networks,
        "scale": scale(records.difference),
        "findings": findings(records, null),
        "strip": frames.rows(frames.slots(records)),
        "legend": _legend(records),
        "slots": tables.slots(records),
        "layers": field_records.section(records),
        "field_charts": charts.fields(records),
        "trajectories": charts.trajectories(records),
        "weights": charts.weights_table(records),
        "gaps": charts.gaps(records, null),
        "freezes": tables.freezes(records),
        "trials": charts.trials(records),
        "trial_table": tables.trials(records),
        "trials_made": _trials_made(records),
        "losses": charts.losses(records),
        "network_table": tables.networks(records),
        "classes": tables.classes(records),
        "cost": charts.cost(records),
        "cost_table": tables.cost(records),
        "steps": charts.steps(records),
        "alpha_steps": records.metrics.get("alpha_steps"),
        "run": tables.run(records),
        "splits": tables.splits(records),
        "machine": tables.machine(records),
        "plan": tables.plan(records),
        "settings": tables.settings(records),
        "provenance": tables.provenance(),
        "forms": {str(choice.get("form", "")) for choice in records.architecture["choices"]},
        **base("page.css", "fields.css", "page.js", "fields.js"),
    }


def _dials(records: Records) -> list[tuple[str, str]]:
    """The dials of the command line that made the run, with their values."""
    keys = ("backbone", "strategy", "space", "data", "budget", "seed")
    dials = [(key, tables.plain_text(records.config[key])) for key in keys]
    changed = ", ".join(records.config["changed"])
    size = ("image size", f"{quantities.size(*records.image_size)} px")
    return [*dials, size, *([("changed", changed)] if changed else [])]


def _trials_made(records: Records) -> str:
    """How trials came to their scores."""
    plan = records.config.get("plan") or {}
    num = quantities.plural(len(frames.trials(records)), "network")
    num = f"{num[0].upper()}{num[1:]}"
    if not frames.has_own_trainings(records.history) or not plan:
        return f"{num} were scored on the selection split with the weights of the supernet."
    epochs = quantities.plural(plan["proxy_epochs"], "epoch")
    return (
        f"{num} were each trained for {epochs} on up to {plan['proxy_images']} images and scored "
        "on the selection split."
    )


def _legend(records: Records) -> list[candidates.Candidate]:
    """Candidates to explain beside the trajectories; those of the choices without a search."""
    if any(record.get("p") for record in records.history):
        return list(candidates.of_space(records.config))
    chosen = [candidates.of_choice(choice) for choice in records.architecture["choices"]]
    return sorted({one for choice in chosen for one in choice}, key=lambda one: one.label)


def scale(difference: Difference) -> Scale:
    """Positions on a line that is symmetric about zero and a point wide at least, 0 to 1."""
    reach = 1.15 * max(abs(difference.low), abs(difference.high), abs(difference.value), 0.01)
    ends = (difference.low, difference.high, difference.value)
    low, high, value = ((one / reach + 1) / 2 for one in ends)
    return Scale(0.5, low, high, value)
