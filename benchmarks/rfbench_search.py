"""What supernets find in RF-Bench's space, searched for real.

    python benchmarks/rfbench_search.py --seeds 10 --processes 2   # goes on where it stopped
    python benchmarks/rfbench_search.py --confirm --processes 2    # the best by ten seeds more

A supernet is searched on the data and the splits of the quick plan of rfnet6, in the table's
space; its cost is the processor's seconds.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import rfbench
import tables
from rfsearch.strategies.tabular import name

Arms = Mapping[str, Sequence[str]]
"""Arm, as `rfsearch compare` names them → stages."""
LATE, EARLY = "8+4+2", "4+8+2"
"""Epochs of the warm-up, of the search and of the adaptation."""
SUPERNETS = {
    "pmpl": (EARLY, "7+14+3", "10+21+5", LATE, "16+8+4"),
    "pmpl:alpha_batch=16": ("7+14+3", "16+8+4"),
    "pmpl:select=masking": ("16+8+4",),
    "pmpl:alpha_loss=plain": ("16+8+4",),
    "pmpl:mixing=subset:relaxation=mixed": ("16+8+4",),
    "pmpl:progressive=false": ("16+8+4",),
    "pmpl:field_price=0.1": ("16+8+4",),
    "pmpl-all": (EARLY, LATE),
    "pmpl-paths": (EARLY, "7+14+3", "16+8+4"),
    "pmpl-mixed": (EARLY, LATE),
    "pmpl-masked": (EARLY, LATE),
    "darts": (EARLY, LATE),
    "random-shared": (EARLY, "7+14+3", "16+8+4"),
}
"""16+8+4 are the stages of the quick plan."""
CONFIRMED = {
    "pmpl:alpha_batch=16": ("16+8+4",),
    "pmpl:mixing=subset:relaxation=mixed": ("16+8+4",),
    "pmpl-all": (LATE,),
    "pmpl:field_price=0.1": ("16+8+4",),
}
"""The default, and the three that were best after ten searches of each: searched again, by seeds
that they were not chosen by."""
CONFIRMING = range(10, 20)
"""Those seeds."""
AS_RECORDED = "pmpl.alpha_batch=32"
"""Of every arm that does not say another: the default was this when the table was searched."""
PLACE = rfbench.REPORT / "searched.csv"
COLUMNS = ("strategy", "epochs", "seed", "architecture", "seconds", "p")


def search(arms: Arms, seeds: Sequence[int], num_processes: int) -> None:
    """What is missing of these arms, seed by seed, so many at a time."""
    done = {(row["strategy"], row["epochs"], int(row["seed"])) for row in tables.resumed(PLACE)}
    every = [(arm, stages, seed) for seed in seeds for arm, told in arms.items()
             for stages in told]  # fmt: skip
    todo = [one for one in every if one not in done]
    for row in tables.made(searched, todo, num_processes):
        tables.append(PLACE, COLUMNS, row)
        print(*row.values(), flush=True)


def searched(arm: str, stages: str, seed: int) -> dict[str, Any]:
    """One search: what it found, and p of every operator in every slot before the deadline."""
    from rfsearch.engine.compare_plan import parse_arms
    from rfsearch.engine.run import new_search
    from rfsearch.training.fit import silent

    (known,) = parse_arms(arm)
    config = rfbench.settled(strategy=known.strategy, changes=(AS_RECORDED, *known.changes))
    warmup, moving, adapt = map(int, stages.split("+"))
    plan = replace(config.plan, warmup_epochs=warmup, search_epochs=moving, adapt_epochs=adapt)
    config = replace(config, seed=seed, plan=plan)
    searching = new_search(replace(rfbench.opened(), config=config))
    began, p = time.process_time(), {}
    while not searching.finished:
        line = searching.advance(silent)
        p = line["p"] if line.get("stage") == "search" else p
    seconds = time.process_time() - began
    labels = config.operators
    found = tuple(labels.index(choice.label) for choice in searching.choices())
    told = "|".join(" ".join(f"{value:.4f}" for value in slot) for slot in p.values())
    return {"strategy": arm, "epochs": stages, "seed": seed, "architecture": name(found),
            "seconds": f"{seconds:.1f}", "p": told}  # fmt: skip


def by_arm(*, confirming: bool = False) -> dict[tuple[str, str], list[dict[str, str]]]:
    """(Strategy, epochs) → its searches in the order of `SUPERNETS`, or those of `CONFIRMED`."""
    arms = CONFIRMED if confirming else SUPERNETS
    order = [(arm, stages) for arm, told in arms.items() for stages in told]
    rows = [row for row in tables.read(PLACE) if (int(row["seed"]) in CONFIRMING) == confirming]
    told = {one: [row for row in rows if (row["strategy"], row["epochs"]) == one] for one in order}
    return {one: found for one, found in told.items() if found}


def of_confirmed() -> dict[tuple[str, str], list[dict[str, str]]]:
    """(Strategy, epochs) → all its searches, of those in `CONFIRMED`."""
    both = [by_arm(confirming=confirming) for confirming in (False, True)]
    return {(arm, stages): [row for found in both for row in found.get((arm, stages), [])]
            for arm, told in CONFIRMED.items() for stages in told}  # fmt: skip


def by_default() -> list[dict[str, str]]:
    """All searches of the first of `CONFIRMED`."""
    return next(iter(of_confirmed().values()))


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=10, help="searches of every strategy")
    parser.add_argument("--confirm", action="store_true", help="the best and the default alone")
    parser.add_argument("--processes", type=int, default=1, help="searches at a time")
    given = parser.parse_args()
    if given.confirm:
        search(CONFIRMED, CONFIRMING, given.processes)
    else:
        search(SUPERNETS, range(given.seeds), given.processes)


if __name__ == "__main__":
    main()
