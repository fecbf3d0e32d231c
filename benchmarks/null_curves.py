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
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

SEEDS = (0, 1, 2)


def search(arguments: tuple[argparse.Namespace, int]) -> list[dict[str, Any]]:
    """One null search on one thread; a row per epoch and slot while α moves."""
    import torch

    from rfsearch.engine.config import Request, settle
    from rfsearch.engine.run import new_search
    from rfsearch.engine.start import load_data, prepare
    from rfsearch.reporting.progress import Progress
    from rfsearch.strategies.freezing import gap
    from rfsearch.training.fit import silent
    from rfsearch.trials import RunFolder

    options, seed = arguments
    torch.set_num_threads(1)
    assignments = ("pmpl.null=signs",)
    config = settle(
        Request(
            backbone=options.backbone,
            space=options.space,
            seed=seed,
            budget=options.budget,
            assignments=assignments,
        )
    )
    config = replace(config, plan=replace(config.plan, threads=1))
    run = prepare(config, RunFolder(Path("unused")), load_data(config), Progress())
    searching, rows = new_search(run), []
    while not searching.finished:
        record = searching.advance(silent)
        froze = {event["slot"] for event in record["froze"] if event["by"] == "rule"}
        if record["stage"] != "search":
            continue
        for slot, average in record["average"].items():
            frozen = slot in froze or any(r["slot"] == slot and r["frozen"] for r in rows)
            rows.append(
                {
                    "budget": options.budget,
                    "backbone": options.backbone,
                    "space": options.space,
                    "seed": seed,
                    "epoch": record["epoch"],
                    "alpha_steps": record["alpha_steps"],
                    "slot": slot,
                    "gap": round(gap(average), 5),
                    "frozen": int(frozen),
                }
            )
        print(
            seed,
            record["epoch"],
            sum(r["frozen"] for r in rows[-len(record["average"]) :]),
            f"{max(gap(p) for p in record['average'].values()):.3f}",
            flush=True,
        )
    return rows


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
