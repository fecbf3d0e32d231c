"""What a slot should keep that has not settled, in the paper's form on a shallow network.

    python benchmarks/undecided.py [--processes 2]    # goes on where it stopped

RFNet-6 on the digits of the quick plan, where pools help most. One search a seed is read three
ways: the deadline keeps what leads, or that only where it leads the plain operator by 0.05 or by
the threshold of a freeze (0.2, the default). What comes of each, and two controls, is trained by
the recipe of the run. Every row is on disk as soon as its search's networks are trained; then
reports/undecided is written anew.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import tables
from means import above, spread
from trainings import opened, trained

if TYPE_CHECKING:
    from rfsearch.engine.config import Request

SEEDS = range(6)
REPORT = Path(__file__).parents[1] / "reports" / "undecided"
COLUMNS = ("seed", "kept", "accuracy", "operators")
LEADS = {"what leads": 0.0, "what leads by 0.05": 0.05, "what leads by 0.2": 0.2}
"""Arm → how far ahead of the plain operator another has to be."""
CONTROLS = ("identity", "avg 3")
"""Everywhere; averages are what [long trainings](../longer/) had, too."""
NUM_SLOTS = 6


def request(seed: int) -> Request:
    """A run of a seed."""
    from rfsearch.engine.config import Request

    return Request(backbone="rfnet6", space="pmpl", strategy="pmpl-near", seed=seed, device="cpu",
                   assignments=("plan.threads=1",))  # fmt: skip


def made(seed: int) -> list[dict[str, object]]:
    """The rows of a seed; a network that several arms hold is trained once."""
    kept = {
        name: held(frozen, lead) for frozen in [searched(seed)] for name, lead in LEADS.items()
    }
    kept |= {f"{label} everywhere": (label,) * NUM_SLOTS for label in CONTROLS}
    scores = {operators: trained(request(seed), operators)[0] for operators in set(kept.values())}
    return [
        {"seed": seed, "kept": name, "accuracy": f"{scores[operators]:.4f}",
         "operators": " | ".join(operators)}
        for name, operators in kept.items()
    ]  # fmt: skip


def searched(seed: int) -> dict[str, tuple[str, bool, float]]:
    """Slot → what led, whether only the deadline decided, and its lead over the plain operator."""
    import torch

    from rfsearch.engine.run import new_search, slot_names
    from rfsearch.spaces import load_space

    torch.set_num_threads(1)
    run, labels = opened(request(seed)), load_space("pmpl").labels
    search, frozen = new_search(run), {}
    while not search.finished:
        told = search.advance()
        for event in told.get("froze") or ():
            p, label = told["average"][event["slot"]], event["operators"][0]
            lead = p[labels.index(label)] - p[labels.index("identity")]
            frozen[event["slot"]] = (label, event["by"] == "deadline", lead)
    return {slot: frozen[slot] for slot in slot_names(run)}


def held(frozen: dict[str, tuple[str, bool, float]], least: float) -> tuple[str, ...]:
    """What each slot holds where another has to lead the plain operator by so much."""
    return tuple("identity" if late and lead < least else label
                 for label, late, lead in frozen.values())  # fmt: skip


def page(rows: Sequence[dict[str, str]]) -> str:
    """reports/undecided/README.md."""
    of = {name: [100 * float(row["accuracy"]) for row in rows if row["kept"] == name]
          for name in dict.fromkeys(row["kept"] for row in rows)}  # fmt: skip
    base = of["identity everywhere"]
    table = tables.markdown(
        ("kept", "n", "test accuracy, %", "above identity everywhere, points"),
        [(name, len(found), spread(found), above(found, base)) for name, found in of.items()],
    )
    return "\n".join(["# What a slot keeps that has not settled", "",
                      (REPORT / "reading.md").read_text(encoding="utf-8").strip(), "", *table, "",
                      "Points are by Welch's 95 % interval. Made by `python "
                      "benchmarks/undecided.py`; `table.csv` has every network.", ""])  # fmt: skip


def main() -> None:
    """Search and train what is missing, then write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--processes", type=int, default=2)
    place = REPORT / "table.csv"
    todo = [(seed,) for seed in SEEDS
            if str(seed) not in {row["seed"] for row in tables.resumed(place)}]  # fmt: skip
    for rows in tables.made(made, todo, parser.parse_args().processes):
        for row in rows:
            tables.append(place, COLUMNS, row)
            print(*row.values(), flush=True)
    (REPORT / "README.md").write_text(page(tables.resumed(place)), encoding="utf-8")


if __name__ == "__main__":
    main()
