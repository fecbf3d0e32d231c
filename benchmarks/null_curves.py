"""The null control of a budget: the same search, every slot's α gradient times a random sign.

    python benchmarks/null_curves.py --budget quick --processes 2

The sign keeps the gradient's size and takes its mean, so a slot that freezes has frozen on noise;
at most 5 % may. Rows of this budget, backbone and space are replaced in
rfsearch/reporting/null_curves.csv, which runs draw beside their own curves.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

SEEDS = (0, 1, 2)


def search(arguments: tuple[argparse.Namespace, int]) -> list[dict[str, Any]]:
    """One null search on one thread; a row per epoch and slot while α moves."""
    import torch

    from rfsearch.training.fit import silent

    options, seed = arguments
    torch.set_num_threads(1)
    searching, rows, frozen = started(options, seed), [], set()
    while not searching.finished:
        record = searching.advance(silent)
        frozen |= {event["slot"] for event in record["froze"] if event["by"] == "rule"}
        if record["stage"] != "search":
            continue
        found = of_epoch(options, seed, record, frozen)
        rows += found
        widest = max(row["gap"] for row in found)
        print(seed, record["epoch"], len(frozen), f"{widest:.3f}", flush=True)
    return rows


def started(options: argparse.Namespace, seed: int) -> Any:
    """A search whose α learns nothing."""
    from rfsearch.engine.config import Request, settle
    from rfsearch.engine.run import new_search
    from rfsearch.engine.start import load_data, prepare
    from rfsearch.reporting.progress import Progress
    from rfsearch.trials import RunFolder

    asked = Request(backbone=options.backbone, space=options.space, seed=seed,
                    budget=options.budget, assignments=("pmpl.null=signs",))  # fmt: skip
    config = settle(asked)
    config = replace(config, plan=replace(config.plan, threads=1))
    return new_search(prepare(config, RunFolder(Path("unused")), load_data(config), Progress()))


def of_epoch(
    options: argparse.Namespace, seed: int, record: Mapping[str, Any], frozen: Collection[str]
) -> list[dict[str, Any]]:
    """A row for every slot, in the columns of `rfsearch.reporting.nulls`."""
    from rfsearch.strategies.freezing import gap

    of_budget = {key: getattr(options, key) for key in ("budget", "backbone", "space")}
    told = {**of_budget, "seed": seed, **{key: record[key] for key in ("epoch", "alpha_steps")}}
    return [{**told, "slot": slot, "gap": round(gap(average), 5), "frozen": int(slot in frozen)}
            for slot, average in record["average"].items()]  # fmt: skip


def main() -> None:
    """Search with three seeds and replace the rows of this budget."""
    from rfsearch.reporting.nulls import COLUMNS, CURVES

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--budget", default="quick")
    parser.add_argument("--backbone", default="mobilenetv2")
    parser.add_argument("--space", default="pooling")
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    with multiprocessing.get_context("spawn").Pool(options.processes) as pool:
        parts = pool.map(search, [(options, seed) for seed in SEEDS], chunksize=1)
    frame = pd.DataFrame([row for part in parts for row in part], columns=COLUMNS)
    if CURVES.exists():
        old = pd.read_csv(CURVES)
        same = (old["budget"] == options.budget) & (old["backbone"] == options.backbone)
        frame = pd.concat([old[~(same & (old["space"] == options.space))], frame])
    frame.to_csv(CURVES, index=False)
    last = frame.groupby(["seed", "slot"]).tail(1)
    print(f"{int(last['frozen'].sum())} of {len(last)} slots froze on noise")


if __name__ == "__main__":
    main()
