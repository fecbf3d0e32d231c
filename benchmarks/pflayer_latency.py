"""PfLayer's networks beside ResNet-50: multiply-adds, and how long an image takes.

    python benchmarks/pflayer_latency.py [--image-size 224] [--passes 40] [--threads 1]
        [--device cpu] [--out reports/pflayer/latency.csv]

Passes are taken in turns, so that other work on the machine hits all alike; a ratio is the median
of the ratios of neighbouring passes, and its quartiles tell how far they spread.
"""

from __future__ import annotations

import argparse
import csv
import platform
import statistics
from pathlib import Path

import torch

from rfsearch.analysis.walk import walk
from rfsearch.backbones.sources import load
from rfsearch.engine import passes

NETWORKS = ("resnet50", "resnet50_max", "resnet50_hybrid")
COLUMNS = ("network", "params", "macs", "macs_ratio", "milliseconds", "time_ratio",
           "time_ratio_25", "time_ratio_75", "passes", "threads", "device")  # fmt: skip


def rows(size: int, num: int, device: torch.device) -> list[dict[str, object]]:
    """A row for each network; the first one is what the others are compared with."""
    networks = {name: load(name).module.eval() for name in NETWORKS}
    totals = {name: walk(network, (size, size)).totals for name, network in networks.items()}
    for network in networks.values():
        network.to(device).to(memory_format=torch.channels_last)
    image = torch.rand(1, 3, size, size, device=device)
    taken = passes.seconds(networks, image.to(memory_format=torch.channels_last), num)
    first = NETWORKS[0]
    found: list[dict[str, object]] = []
    for name, seconds in taken.items():
        ratios = [one / base for one, base in zip(seconds, taken[first], strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        numbers = (totals[name].params, totals[name].macs,
                   round(totals[name].macs / totals[first].macs, 3),
                   round(1000 * statistics.median(seconds), 2),
                   round(middle, 3), round(low, 3), round(high, 3))  # fmt: skip
        where = (num, torch.get_num_threads(), _device(device))
        found.append(dict(zip(COLUMNS, (name, *numbers, *where), strict=True)))
    return found


def _device(device: torch.device) -> str:
    return (
        torch.cuda.get_device_name(device)
        if device.type == "cuda"
        else platform.processor() or platform.machine()
    )


def main() -> None:
    """Measure, print, and write where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--passes", type=int, default=40)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    found = rows(given.image_size, given.passes, torch.device(given.device))
    for row in found:
        print(*(f"{key} {value}" for key, value in row.items()), sep="  ")
    if given.out:
        given.out.parent.mkdir(parents=True, exist_ok=True)
        with given.out.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(found)


if __name__ == "__main__":
    main()
