"""The page of RF-Bench, from the records in reports/rfbench alone.

python benchmarks/rfbench_page.py   # rewrites reports/rfbench/README.md
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

import rfbench
import rfbench_again
import rfbench_replay
import rfbench_search
import rfbench_shortlist
import rfbench_static
import tables
from means import above, spread
from ranks import tau
from rfbench_replay import Replays, at_cost
from rfsearch.strategies.tabular import Table, of_name, read_table

MARKS = (5, 10, 20, 40)
"""Trials after which regret is told."""
PAIRS = 2
"""Slots that are taken together where single trainings are smoothed; `left_out` is why."""


def page() -> str:
    """README.md of reports/rfbench."""
    table, replays = read_table(rfbench.REPORT, rfbench.TABLE), rfbench_replay.read()
    if table.missing:
        raise SystemExit(f"{table.missing} trainings are missing; `rfbench.py train` goes on")
    reading = (rfbench.REPORT / "reading.md").read_text(encoding="utf-8").strip()
    parts = [
        heading(table), [reading],
        ["## Controls"], controls(table),
        ["## Supernets"], supernets(table, replays),
        ["## Searched again"], searched_again(table, replays),
        ["## Then trials, by replay"],
        tables.markdown(rfbench_shortlist.COLUMNS, rfbench_shortlist.rows(table, replays)),
        ["## Trained again"], trained_again(table),
        [f"## Strategies that sample, {len(replays['random'][0])} replays each"],
        black_boxes(replays),
        ["## What an operator is worth by slot"], worths(table),
        ["## What static scores rank"], rfbench_static.ranks(table),
        ["Made by `python benchmarks/rfbench_page.py` from the records beside it, which are of",
         "`rfbench.py train`, `pack`, `rfbench_search.py`, `rfbench_again.py`, "
         "`rfbench_replay.py` and", "`rfbench_static.py`."],
    ]  # fmt: skip
    return "\n\n".join("\n".join(part) for part in parts) + "\n"


def heading(table: Table) -> list[str]:
    """What was trained, and how much of the differences is noise."""
    about, errors = table.about, [f"{left_out(table, k):.2f}" for k in (1, 2, 3)]
    return [
        "# RF-Bench: every network of a small receptive-field space, trained",
        "",
        f"{' / '.join(about['operators'])} in the six slots of RFNet-6: {len(table.rows)} "
        "networks,",
        f"{len(about['seeds'])} training seeds each, {about['epochs']} epochs on cluttered "
        "digits. Regret is in points of test",
        "accuracy below the best network, by the mean of its seeds.",
        "",
        f"Kendall's τ between training seeds (noise ceiling): {table.noise_ceiling():.2f}. "
        + shares(table),
        "",
        "What a network that is left out reaches is told by the others to "
        f"{errors[0]} points by sums of log-odds",
        f"over slots, to {errors[1]} by sums over pairs of slots and to {errors[2]} over threes "
        "(root mean square,",
        f"the noise of its own mean of {noise(table) / len(about['seeds']) ** 0.5:.2f} among it). "
        "*By pairs* below are the sums over pairs.",
    ]


def shares(table: Table) -> str:
    """How much of the spread is networks, and how much trainings."""
    means = np.array([[100 * row.test for row in rows] for rows in table.rows.values()])
    variance = means.mean(axis=1).var(ddof=1) - noise(table) ** 2 / means.shape[1]
    return (f"Networks differ by {max(variance, 0.0) ** 0.5:.2f} points\n(sd, without the noise), "
            f"trainings of one by {noise(table):.2f}.")  # fmt: skip


def noise(table: Table) -> float:
    """Standard deviation of the trainings of one network, in points."""
    seeds = np.array([[100 * row.test for row in rows] for rows in table.rows.values()])
    return float(seeds.var(axis=1, ddof=1).mean() ** 0.5)


def design(networks: Sequence[Any], num_operators: int, most: int) -> Any:
    """A column of ones, and one for all operators but the first of up to ``most`` slots together:
    whether a network has them. (networks, columns)."""
    held = np.array(networks)
    columns = [np.ones(len(held))]
    for num in range(1, most + 1):
        for slots in itertools.combinations(range(held.shape[1]), num):
            for operators in itertools.product(range(1, num_operators), repeat=num):
                columns.append((held[:, slots] == operators).all(axis=1).astype(float))
    return np.stack(columns, axis=1)


def smoothed(table: Table, most: int = PAIRS) -> dict[Any, float]:
    """The accuracy of every network in %, its log-odds being a sum over slots and over up to
    ``most`` of them together that fits all trainings best."""
    columns, odds = _logs(table, most)
    fitted = columns @ np.linalg.lstsq(columns, odds, rcond=None)[0]
    return dict(zip(table.rows, (100 / (1 + np.exp(-fitted))).tolist(), strict=True))


def left_out(table: Table, most: int) -> float:
    """How far such sums are from a network that was left out, root mean square in points."""
    columns, odds = _logs(table, most)
    hat = columns @ np.linalg.pinv(columns)
    told = odds - (odds - hat @ odds) / (1 - np.diag(hat))
    off = 100 / (1 + np.exp(-told)) - 100 / (1 + np.exp(-odds))
    return float(np.sqrt(np.mean(off**2)))


def _logs(table: Table, most: int) -> tuple[Any, Any]:
    """Columns, and log-odds of the networks' means."""
    values = np.array([table.accuracy(network) for network in table.rows])
    columns = design(list(table.rows), table.shape.num_operators, most)
    return columns, np.log(values / (1 - values))


def supernets(table: Table, replays: Replays) -> list[str]:
    """What each found, and what random search and tpe had by then."""
    columns = ("strategy", "epochs", "searches", "seconds", "test accuracy, %", "regret",
               "above the default's", "regret by pairs", "mean rank", "τ of p",
               "random at its cost", "tpe at its cost")  # fmt: skip
    pairs, default = smoothed(table), regrets(table, rfbench_search.by_default())
    rows = [[*arm, *of_supernet(rows, table, pairs, default, replays)]
            for arm, rows in rfbench_search.by_arm().items()]  # fmt: skip
    return tables.markdown(columns, rows)


def searched_again(table: Table, replays: Replays) -> list[str]:
    """The arms that were best, and the default first, by seeds that they were not chosen by."""
    first, again = rfbench_search.by_arm(), rfbench_search.by_arm(confirming=True)
    default, rows = next(iter(again), None), []
    for arm, both in again.items():
        told, seconds = regrets(table, both), [float(row["seconds"]) for row in both]
        equal = [at_cost(*replays[other], float(np.mean(seconds))) for other in ("random", "tpe")]
        rows.append((*arm, len(told), spread(seconds, 0), spread(told, 2),
                     "" if arm == default else above(told, regrets(table, again[default])), *equal,
                     spread([*regrets(table, first[arm]), *told], 2)))  # fmt: skip
    columns = ("strategy", "epochs", "searches", "seconds", "regret", "above the default's",
               "random at its cost", "tpe at its cost", "regret of all its searches")  # fmt: skip
    return tables.markdown(columns, rows)


def regrets(table: Table, rows: list[dict[str, str]]) -> list[float]:
    """Of what each search found, in points."""
    best = table.best()
    return [100 * (best - table.accuracy(one)) for one in networks(rows)]


def trained_again(table: Table) -> list[str]:
    """What some of them found, by trainings that nothing was chosen by, beside the table's."""
    again, arms = rfbench_again.read(), rfbench_search.by_arm()
    best = rfbench_again.best(table)
    groups: dict[tuple[str, str], list[Any]] = {
        ("best of the table", ""): best[:1],
        (f"the {len(best)} best of the table", ""): best,
        (f"{table.about['operators'][0]} everywhere", ""): [(0,) * len(table.shape.slots)],
        **{arm: networks(arms[arm]) for arm in rfbench_again.ARMS},
        ("the default's", "16+8+4"): networks(rfbench_search.by_default()),
        (f"the default's, then {rfbench_shortlist.MARKS[-1]} trials", "16+8+4"):
            rfbench_shortlist.found(table),
    }  # fmt: skip
    rows = [
        [*group, len(found), len(set(found)), min(len(again[one]) for one in found),
         spread([100 * table.accuracy(one) for one in found], 2),
         spread([float(np.mean(again[one])) for one in found], 2)]
        for group, found in groups.items()
        if all(one in again for one in found)
    ]  # fmt: skip
    columns = ("strategy", "epochs", "found", "networks", "trainings of each",
               "accuracy by the table, %", "trained again, %")  # fmt: skip
    return tables.markdown(columns, rows)


def networks(rows: Sequence[dict[str, str]]) -> list[Any]:
    """What searches found."""
    return [of_name(row["architecture"]) for row in rows]


def of_supernet(
    rows: list[dict[str, str]],
    table: Table,
    pairs: dict[Any, float],
    default: list[float],
    replays: Replays,
) -> list[object]:
    """One row of them, behind its names."""
    order = sorted(table.rows, key=table.accuracy, reverse=True)
    found = networks(rows)
    values = 100 * np.array([table.accuracy(one) for one in found])
    seconds = float(np.mean([float(row["seconds"]) for row in rows]))
    rank = np.mean([order.index(one) + 1 for one in found])
    taus = [known for row in rows if (known := tau_of_p(table, row["p"])) is not None]
    below = max(pairs.values()) - np.array([pairs[one] for one in found])
    equal = [at_cost(*replays[other], seconds) for other in ("random", "tpe")]
    regret = regrets(table, rows)
    return [len(rows), f"{seconds:.0f}", spread(values, 2), spread(regret, 2),
            above(regret, default), spread(below, 2), f"{rank:.0f}", spread(taus, 2),
            *equal]  # fmt: skip


def controls(table: Table) -> list[str]:
    """One operator everywhere, and a network drawn at random."""
    slots, every = len(table.shape.slots), [table.accuracy(one) for one in table.rows]
    told = [(f"{operator} everywhere", [table.accuracy((k,) * slots)])
            for k, operator in enumerate(table.about["operators"])]  # fmt: skip
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


def black_boxes(told: Replays) -> list[str]:
    """Regret after so many trials, and its sd over searches."""
    columns = ["strategy", *(f"{mark} trials" for mark in MARKS), "hours of a core"]
    rows = [
        [strategy, *(spread(regret[:, mark - 1], 2) for mark in MARKS),
         f"{spent[:, -1].mean() / 3600:.2f}"]
        for strategy, (regret, spent) in told.items()
    ]  # fmt: skip
    return tables.markdown(columns, rows)


def tau_of_p(table: Table, told: str) -> float | None:
    """Kendall's τ over all networks between Σ log p and accuracy; None of a strategy without p."""
    if not told:
        return None
    p = np.array([[float(value) for value in slot.split()] for slot in told.split("|")])
    logs = np.log(np.maximum(p, 1e-4))
    scores = [sum(logs[slot, k] for slot, k in enumerate(one)) for one in table.rows]
    return tau(np.array(scores), np.array([table.accuracy(one) for one in table.rows]))


def main() -> None:
    """The command line."""
    (rfbench.REPORT / "README.md").write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
