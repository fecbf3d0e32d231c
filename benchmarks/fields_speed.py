"""How long reading a network takes: torch.export, and the walk alone.

    python benchmarks/fields_speed.py [--timm] [--again]

In one warm process with one thread, the best of three. --timm adds the smallest model of those
timm families that took longest in reports/fields/table.csv. Writes reports/fields/speed.csv row by
row and goes on where it stopped; --again measures every row anew.
"""

from __future__ import annotations

import argparse
import os
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import nn
from torchvision import models

import tables
from rfsearch.analysis.capture import capture
from rfsearch.analysis.walk import walk

FOLDER = Path(__file__).parents[1] / "reports" / "fields"
TABLE, MEASURED = FOLDER / "table.csv", FOLDER / "speed.csv"
COLUMNS = ("network", "pixels", "export_seconds", "walk_seconds", "load")
NUM_SLOWEST = 3
LIMITS = {"mobilenet_v2": (2.0, 0.1)}  # seconds: export and walk together, the walk alone
SLOWEST = (15.0, 15.0)


def seconds(build: Callable[[], nn.Module], size: int) -> tuple[float, float]:
    """Of the export and of the walk alone, each the best of three."""
    net = build().eval()
    exports, walks = [], []
    for _ in range(3):
        began = time.perf_counter()
        program = capture(net, (size, size))
        exported = time.perf_counter()
        walk(net, (size, size), program=program)
        exports.append(exported - began)
        walks.append(time.perf_counter() - exported)
    return min(exports), min(walks)


def slowest() -> list[tuple[str, int]]:
    """timm models by what export and walk took in the sweep, with their image sizes."""
    rows = [row for row in tables.read(TABLE)
            if row["family"].startswith("timm") and row["walk_seconds"]]  # fmt: skip
    rows.sort(key=lambda row: -float(row["export_seconds"]) - float(row["walk_seconds"]))
    return [(row["model"], int(row["image_size"].split("×")[0])) for row in rows[:NUM_SLOWEST]]


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--timm", action="store_true", help="the slowest timm families too")
    parser.add_argument("--again", action="store_true", help="rows that were measured before too")
    options = parser.parse_args()
    known = [] if options.again else tables.read(MEASURED)
    rows = {row["network"]: row for row in known}
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    cases = [(name, 224, partial(models.get_model, name), LIMITS.get(name))
             for name in ("mobilenet_v2", "resnet50", "convnext_tiny", "swin_t")]  # fmt: skip
    if options.timm:
        import timm

        cases += [(name, size, partial(timm.create_model, name), SLOWEST)
                  for name, size in slowest()]  # fmt: skip
    print(f"{'network':32} {'pixels':>6} {'export s':>9} {'walk s':>8} {'load':>5}  limit")
    for name, size, build, limit in cases:
        if name not in rows:
            numbers = (f"{number:.3f}" for number in seconds(build, size))
            load = f"{os.getloadavg()[0]:.1f}"
            rows[name] = dict(zip(COLUMNS, (name, str(size), *numbers, load), strict=True))
            tables.write(MEASURED, COLUMNS, rows.values())
        exported, walked = (float(rows[name][f"{what}_seconds"]) for what in ("export", "walk"))
        verdict = ""
        if limit:
            kept = exported + walked <= limit[0] and walked <= limit[1]
            verdict = f"{limit[0]:g} s, walk {limit[1]:g} s: {'kept' if kept else 'broken'}"
        print(f"{name:32} {size:6} {exported:9.2f} {walked:8.3f} {rows[name]['load']:>5}  "
              f"{verdict}", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
