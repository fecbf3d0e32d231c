"""Original networks against what the optimizer proposes, trained under one recipe.

    python benchmarks/optimized_retrained.py [--data cifar10:FOLDER] [--sizes 16,32]
        [--seeds 0,1,2] [--networks resnet18,mobilenetv2] [--budget quick] [--out FILE.csv]

A row per network, level, size and seed: accuracy on the untouched test split, parameters,
multiply-adds, milliseconds of one image. Rows that the file has already are not made again, so a
stopped run goes on where it stopped. The paper's claims stand beside the table in
reports/3drf/README.md; nothing here pretends to match them.
"""

from __future__ import annotations

import argparse
import csv
import statistics
import time
from dataclasses import replace
from itertools import product
from pathlib import Path

import torch
from torch import nn

from rfsearch import data
from rfsearch.engine.optimize import BUDGETS, train
from rfsearch.optimize import build, figures, optimize_kernels, optimize_stages, original
from rfsearch.optimize.proposal import Optimized
from rfsearch.seeds import stream
from rfsearch.training.randomness import seeded

LEVELS = ("original", "stage", "stage10", "kernel", "both")
"""stage10: the best of at most ten times the original's multiply-adds."""
EPSILON, PASSES = 0.05, 30
COLUMNS = ("network", "level", "size", "seed", "data", "budget", "accuracy", "params", "macs",
           "milliseconds", "proposal")  # fmt: skip


def proposal(name: str, level: str, size: int) -> Optimized:
    """The network of one row."""
    net, pixels = original(name), (size, size)
    proposed, kernels = net, None
    if level.startswith("stage") or level == "both":
        cap = 10 * figures(net, pixels).macs if level == "stage10" else None
        proposed = optimize_stages(net, pixels, cap).best.net
    if level in ("kernel", "both"):
        kernels = optimize_kernels(proposed, pixels, EPSILON)
    return Optimized(name, pixels, net, proposed, kernels)


def milliseconds(network: nn.Module, channels: int, size: int) -> float:
    """Median of one image on one thread of the CPU."""
    network = network.cpu().eval()
    image, taken = torch.rand(1, channels, size, size), []
    with torch.no_grad():
        for number in range(PASSES + 3):
            began = time.perf_counter()
            network(image)
            if number >= 3:
                taken.append(time.perf_counter() - began)
    return 1000 * statistics.median(taken)


def row(options: argparse.Namespace, name: str, level: str, size: int, seed: int) -> list[object]:
    """One network trained."""
    images, test_images, epochs = BUDGETS[options.budget]
    made = data.load(options.data, image_size=(size, size), images=images or None,
                     test_images=test_images or None)  # fmt: skip
    found = proposal(name, level, size)
    params, macs, _ = found.after
    net = replace(found.proposed, classes=len(made.classes), channels=made.channels)
    with seeded(stream(seed, "optimize", "weights")):
        network = build(net, found.kernels.kernels if found.kernels else None)
    right = train(network, made, epochs, seed)
    spent = milliseconds(network, made.channels, size)
    return [name, level, size, seed, options.data.split(":")[0], options.budget, f"{right:.4f}",
            params, macs, f"{spent:.3f}", found.proposed.label]  # fmt: skip


def main() -> None:
    """Adds the rows that are missing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default="digits")
    parser.add_argument("--sizes", default="16,32")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--networks", default="resnet18,mobilenetv2")
    parser.add_argument("--budget", default="quick", choices=BUDGETS)
    out = Path(__file__).parents[1] / "reports" / "3drf" / "retrained.csv"
    parser.add_argument("--out", type=Path, default=out)
    options = parser.parse_args()
    torch.set_num_threads(1)
    done = set()
    if options.out.exists():
        with options.out.open(newline="", encoding="utf-8") as file:
            done = {tuple(one[name] for name in COLUMNS[:6]) for one in csv.DictReader(file)}
    else:
        options.out.write_text(",".join(COLUMNS) + "\n", encoding="utf-8")
    wanted = product(options.networks.split(","), LEVELS, options.sizes.split(","),
                     options.seeds.split(","))  # fmt: skip
    for name, level, size, seed in wanted:
        key = (name, level, size, seed, options.data.split(":")[0], options.budget)
        if key not in done:
            made = row(options, name, level, int(size), int(seed))
            with options.out.open("a", newline="", encoding="utf-8") as file:
                csv.writer(file, lineterminator="\n").writerow(made)
            print(*made, flush=True)


if __name__ == "__main__":
    main()
