"""The page of RF-Bench, from the records in reports/rfbench alone.

python benchmarks/rfbench_page.py   # rewrites reports/rfbench/README.md
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

import rfbench
import rfbench_replay
import rfbench_search
import rfbench_static
import tables
from ranks import tau
from rfbench_replay import Replays
from rfsearch.strategies.tabular import Table, of_name, read_table

MARKS = (5, 10, 20, 40)
"""Trials after which regret is told."""


def page() -> str:
    """README.md of reports/rfbench; of a table that is not finished, what it has."""
    table = read_table(rfbench.REPORT, rfbench.TABLE)
    lines = [*heading(table), "", "## Controls", "", *controls(known(table)), "",
             "## What an operator is worth by slot", "", *worths(known(table)), "",
             "## What supernets find, by sums of slots", "", *by_sums(known(table)),
             "", (rfbench.REPORT / "reading.md").read_text(encoding="utf-8").strip()]  # fmt: skip
    if not table.missing:
        lines += searches(table, rfbench_replay.read())
    lines += ["", "## What static scores rank", "", *rfbench_static.ranks(known(table)), "",
              "Made by `python benchmarks/rfbench_page.py` from the records beside it, which are "
              "of", "`rfbench.py train`, `pack`, `rfbench_search.py`, `rfbench_replay.py` and "
              "`rfbench_static.py`."]  # fmt: skip
    return "\n".join(lines) + "\n"


def searches(table: Table, replays: Replays) -> list[str]:
    """What needs every network trained."""
    num_seeds = len(replays["random"][0])
    return ["", f"## Strategies that sample, {num_seeds} replays each", "", *black_boxes(replays),
            "", "## Supernets", "", *supernets(table, replays)]  # fmt: skip


def heading(table: Table) -> list[str]:
    """What was trained, and how much of the differences is noise."""
    networks = table.shape.num_operators ** len(table.shape.slots)
    lines = [
        "# RF-Bench: every network of a small receptive-field space, trained",
        "",
        f"{' / '.join(table.about['operators'])} in the six slots of RFNet-6: {networks} "
        f"networks, {len(table.about['seeds'])} training seeds each, {table.about['epochs']} "
        "epochs on",
        "cluttered digits. Regret is in points of test accuracy below the best network, by the "
        "mean of its seeds.",
        "",
    ]
    if table.missing:
        lines += [f"**Not finished: {table.missing} trainings are missing.** What stands here is "
                  "of the networks that", "are trained; searches are replayed when all are.",
                  ""]  # fmt: skip
    ceiling = table.noise_ceiling()
    return [*lines, f"Kendall's τ between training seeds (noise ceiling): {ceiling:.2f}.",
            shares(known(table))]  # fmt: skip


def shares(table: Table) -> str:
    """How much of the spread is networks, trainings, and sums over slots."""
    whole = np.array([[100 * row.test for row in rows] for rows in table.rows.values()])
    noise = whole.var(axis=1, ddof=1).mean()
    spread_of = max(whole.mean(axis=1).var(ddof=1) - noise / whole.shape[1], 0.0)
    sums = sums_of_slots(table)
    explained = np.corrcoef([sums[one] for one in table.rows], whole.mean(axis=1))[0, 1] ** 2
    return (f"Networks differ by {spread_of**0.5:.2f} points (sd, without the noise), trainings "
            f"of one by {noise**0.5:.2f}. Sums of log-odds over slots make "
            f"{100 * explained:.0f} % of the variance of the means.")  # fmt: skip


def sums_of_slots(table: Table) -> dict[Any, float]:
    """The accuracy of every network in %, its log-odds being the sum over slots of what an
    operator is worth there that fits all trainings best: hundreds of them stand behind each term,
    so that luck of single trainings is gone, and so is what only pairs of slots do."""
    num, slots = table.shape.num_operators, len(table.shape.slots)
    networks = list(itertools.product(range(num), repeat=slots))
    design = np.eye(num)[np.array(networks)].reshape(len(networks), -1)
    trained = [place for place, one in enumerate(networks) if one in table.rows]
    values = np.array([table.accuracy(networks[place]) for place in trained])
    worth = np.linalg.lstsq(design[trained], np.log(values / (1 - values)), rcond=None)[0]
    return dict(zip(networks, (100 / (1 + np.exp(-design @ worth))).tolist(), strict=True))


def known(table: Table) -> Table:
    """The networks whose seeds are all trained."""
    num = len(table.about["seeds"])
    return replace(table, rows={one: rows for one, rows in table.rows.items() if len(rows) == num})


def controls(table: Table) -> list[str]:
    """One operator everywhere, and a network drawn at random."""
    slots, every = len(table.shape.slots), [table.accuracy(one) for one in table.rows]
    told = [(f"{operator} everywhere", [table.accuracy((k,) * slots)])
            for k, operator in enumerate(table.about["operators"])
            if (k,) * slots in table.rows]  # fmt: skip
    told += [("drawn at random", every), ("best of all", [table.best()])]
    means = {what: 100 * np.mean(values) for what, values in told}
    rows = [(what, f"{mean:.2f}", f"{100 * table.best() - mean:.2f}")
            for what, mean in means.items()]  # fmt: skip
    return tables.markdown(("control", "test accuracy, %", "regret"), rows)


def worths(table: Table) -> list[str]:
    """What each operator is worth in each slot, against the mean of all networks, in points."""
    values = {one: 100 * table.accuracy(one) for one in table.rows}
    mean, rows = np.mean(list(values.values())), []
    for k, operator in enumerate(table.about["operators"]):
        held = [[value for one, value in values.items() if one[slot] == k]
                for slot in range(len(table.shape.slots))]  # fmt: skip
        rows.append([operator, *(f"{np.mean(one) - mean:+.2f}" if one else "" for one in held)])
    return tables.markdown(("operator", *table.shape.slots), rows)


def by_sums(table: Table) -> list[str]:
    """What each supernet found by sums of slots, which need not every network trained, beside
    random search that costs as much and is told these sums for its scores."""
    columns = ("strategy", "epochs", "searches", "seconds", "accuracy, %", "regret",
               "random at its cost, regret")  # fmt: skip
    smooth = sums_of_slots(table)
    most = max(smooth.values())
    each = np.mean([row.seconds for rows in table.rows.values() for row in rows])
    lines: list[Sequence[object]] = []
    for arm, rows in rfbench_search.by_arm().items():
        found = np.array([smooth[of_name(row["architecture"])] for row in rows])
        seconds = np.mean([float(row["seconds"]) for row in rows])
        drawn = best_of(list(smooth.values()), max(1, round(seconds / each)))
        lines.append([*arm, len(rows), f"{seconds:.1f}", spread(found),
                      f"{most - found.mean():.2f}", f"{most - drawn:.2f}"])  # fmt: skip
    for k, operator in enumerate(table.about["operators"]):
        value = smooth[(k,) * len(table.shape.slots)]
        lines.append([f"{operator} everywhere", "", "", "", f"{value:.2f}",
                      f"{most - value:.2f}", ""])  # fmt: skip
    return tables.markdown(columns, lines)


def best_of(values: Sequence[float], num: int) -> float:
    """The mean of the largest of so many values, each drawn evenly from all."""
    below = (np.arange(len(values) + 1) / len(values)) ** num
    return float(np.sort(values) @ np.diff(below))


def black_boxes(told: Replays) -> list[str]:
    """Regret after so many trials, and its sd over searches."""
    columns = ["strategy", *(f"{mark} trials" for mark in MARKS), "hours of a core"]
    rows = [
        [strategy, *(spread(regret[:, mark - 1]) for mark in MARKS),
         f"{spent[:, -1].mean() / 3600:.2f}"]
        for strategy, (regret, spent) in told.items()
    ]  # fmt: skip
    return tables.markdown(columns, rows)


def supernets(table: Table, told: Replays) -> list[str]:
    """What each found, and what random search and tpe had by then."""
    columns = ("strategy", "epochs", "searches", "test accuracy, %", "regret", "mean rank",
               "τ of p", "random at its cost", "tpe at its cost")  # fmt: skip
    return tables.markdown(columns, [
        [*arm, *of_supernet(rows, table, told)] for arm, rows in rfbench_search.by_arm().items()
    ])  # fmt: skip


def of_supernet(rows: list[dict[str, str]], table: Table, told: Replays) -> list[object]:
    """One row of them, behind its names."""
    order = sorted(table.rows, key=table.accuracy, reverse=True)
    found = [of_name(row["architecture"]) for row in rows]
    values = 100 * np.array([table.accuracy(one) for one in found])
    seconds = float(np.mean([float(row["seconds"]) for row in rows]))
    rank = np.mean([order.index(one) + 1 for one in found])
    taus = [known for row in rows if (known := tau_of_p(table, row["p"])) is not None]
    equal = [at_cost(*told[other], seconds) for other in ("random", "tpe")]
    return [len(rows), spread(values), spread(100 * table.best() - values), f"{rank:.0f}",
            spread(taus) if taus else "", *equal]  # fmt: skip


def at_cost(regret: Any, spent: Any, seconds: float) -> str:
    """Mean regret of a strategy that samples when so many seconds are gone."""
    num = trials_within(spent, seconds)
    return f"{np.mean([line[n - 1] for line, n in zip(regret, num, strict=True)]):.2f}"


def trials_within(spent: Any, seconds: float) -> Any:
    """How many trials of each search were begun within so many seconds, at least one."""
    return np.maximum((spent < seconds).sum(axis=1), 1)


def tau_of_p(table: Table, told: str) -> float | None:
    """Kendall's τ over all networks between Σ log p and accuracy; None of a strategy without p."""
    if not told:
        return None
    p = np.array([[float(value) for value in slot.split()] for slot in told.split("|")])
    logs = np.log(np.maximum(p, 1e-4))
    scores = [sum(logs[slot, k] for slot, k in enumerate(one)) for one in table.rows]
    return tau(np.array(scores), np.array([table.accuracy(one) for one in table.rows]))


def spread(values: Sequence[float] | Any) -> str:
    """Mean ± sd; of one value that."""
    told = f"{np.mean(values):.2f}"
    return f"{told} ± {np.std(values, ddof=1):.2f}" if len(values) > 1 else told


def main() -> None:
    """The command line."""
    (rfbench.REPORT / "README.md").write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
