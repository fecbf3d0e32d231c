"""Original networks against what the optimizer proposes, trained under one recipe.

    python benchmarks/optimized_retrained.py [--networks resnet18] [--levels original,stage,...]
        [--size 16] [--width 0.5] [--data digits] [--images 4000] [--epochs 12] [--seeds 0,1,2]
    python benchmarks/optimized_retrained.py --page

A row per training: accuracy on the untouched test split, parameters, multiply-adds, CPU time.
Rows that the file has already are not made again, so a stopped run goes on where it stopped; the
seeds are the outer loop, so that it stops with all networks of a seed. What is missing is timed
first and its cost told. ``--page`` writes the page from the rows, and so does the end of a run.

Widths are a share of the published ones, so that a row takes minutes on one thread; the optimizer
gets the narrow network as its original. Times are CPU time of this process on one thread, which
other work on the machine disturbs less than the clock on the wall.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import product
from pathlib import Path

import torch
from torch import nn

import fits
import tables
from rfsearch import data
from rfsearch.optimize import Staged, figures, optimize_stages, original
from rfsearch.optimize.kernel_level import Proposal, curve
from rfsearch.optimize.proposal import Optimized
from rfsearch.seeds import stream
from rfsearch.training.evaluation import accuracy
from rfsearch.training.fit import Fit
from rfsearch.training.randomness import seeded

LEVELS = ("original", "stage", "stage10", "kernel", "both")
TOLD = {
    "original": "original", "stage": "stage level, its cost at most",
    "stage10": "stage level, at most 10× the MACs", "kernel": "kernel level, ε = 0.05",
    "both": "both levels",
}  # fmt: skip
EPSILON, PASSES = 0.05, 60
KEY = ("network", "level", "size", "width", "data", "images", "epochs", "seed")
COLUMNS = (*KEY, "accuracy", "params", "macs", "milliseconds", "minutes", "proposal")
REPORT = Path(__file__).parents[1] / "reports" / "3drf"


@dataclass(frozen=True)
class Row:
    """A training that is asked for; the fields are the key of its line."""

    network: str
    level: str
    size: int
    width: float
    data: str
    images: int
    epochs: int
    seed: int

    @property
    def key(self) -> tuple[str, ...]:
        """As it stands in the file."""
        return tuple(str(getattr(self, name)) for name in KEY)


def narrowed(net: Staged, share: float) -> Staged:
    """With a share of the channels everywhere, in eights."""

    def part(width: int) -> int:
        return max(8, round(width * share / 8) * 8) if width else 0

    stages = tuple(replace(stage, width=part(stage.width)) for stage in net.stages)
    stem = replace(net.stem, width=part(net.stem.width))
    return replace(net, stem=stem, stages=stages, last=part(net.last))


@cache
def proposal(name: str, level: str, size: int, width: float, made: data.Dataset) -> Optimized:
    """The network of a row."""
    pixels = (size, size)
    net = replace(narrowed(original(name), width), classes=len(made.classes),
                  channels=made.channels)  # fmt: skip
    proposed, kernels = net, None
    if level.startswith("stage") or level == "both":
        cap = 10 * figures(net, pixels).macs if level == "stage10" else None
        proposed = optimize_stages(net, pixels, cap).best.net
    if level in ("kernel", "both"):
        kernels = varied_kernels(proposed, pixels)
    return Optimized(name, pixels, net, proposed, kernels)


def varied_kernels(net: Staged, pixels: tuple[int, int]) -> Proposal:
    """At `EPSILON`, or at the first ε above it that does not put one operator everywhere."""
    return next(one for one in curve(net, pixels) if one.epsilon >= EPSILON)


@cache
def dataset(spec: str, size: int, images: int, test_images: int) -> data.Dataset:
    """Its images, once."""
    return data.load(spec, image_size=(size, size), images=images or None,
                     test_images=test_images or None)  # fmt: skip


def training(row: Row, found: Optimized, made: data.Dataset) -> Fit:
    """At its start."""
    with seeded(stream(row.seed, "optimize", "weights")):
        network = found.module()
    return fits.begin(network, made, row.epochs, row.seed)


def train(row: Row, made: data.Dataset) -> dict[str, object]:
    """The line of one row."""
    found = proposal(row.network, row.level, row.size, row.width, made)
    began = time.process_time()
    fit = training(row, found, made)
    while not fit.finished:
        fit.advance()
    minutes = (time.process_time() - began) / 60
    right = accuracy(fit.network, made.test, fit.augmentation)
    params, macs, _ = found.after
    spent = milliseconds(fit.network, made.channels, row.size)
    choices = found.kernels.choices if found.kernels else ()
    held = sorted({one.kernel.label_on(one.row.layer) for one in choices})
    if found.kernels and found.kernels.epsilon > EPSILON:
        held.append(f"ε = {found.kernels.epsilon:g}")
    told = (f"{right:.4f}", params, macs, f"{spent:.3f}", f"{minutes:.2f}",
            "; ".join([found.proposed.label, *held]))  # fmt: skip
    return dict(zip(COLUMNS, (*row.key, *told), strict=True))


@torch.no_grad()
def milliseconds(network: nn.Module, channels: int, size: int) -> float:
    """Median of one image on one thread of the CPU."""
    network = network.cpu().eval()
    image, taken = torch.rand(1, channels, size, size), []
    for number in range(PASSES + 5):
        began = time.process_time()
        network(image)
        if number >= 5:
            taken.append(time.process_time() - began)
    return 1000 * statistics.median(taken)


def expected(row: Row, made: data.Dataset) -> float:
    """CPU minutes of a row."""
    found = proposal(row.network, row.level, row.size, row.width, made)
    return fits.expected(training(row, found, made), made)


def add(rows: Sequence[Row], spec: str, test_images: int, path: Path) -> None:
    """Train what is missing; a line is on disk as soon as its training ends.

    Args:
        spec: the data of all rows with where it is, such as cifar10:ROOT; a row has the name.
    """
    done = {tuple(line[name] for name in KEY) for line in tables.read(path)}
    missing = [row for row in rows if row.key not in done]
    made = {row: dataset(spec, row.size, row.images, test_images) for row in missing}
    costs: dict[Row, float] = {}
    for row in missing:
        kind = replace(row, seed=0)
        if kind not in costs:
            costs[kind] = expected(row, made[row])
            print(f"{row.network} {row.level}: about {costs[kind]:.1f} CPU minutes a seed",
                  flush=True)  # fmt: skip
    total = sum(costs[replace(row, seed=0)] for row in missing)
    print(f"{len(missing)} trainings, about {total:.0f} CPU minutes", flush=True)
    for row in missing:
        line = train(row, made[row])
        tables.append(path, COLUMNS, line)
        print(*line.values(), flush=True)


def wanted(options: argparse.Namespace) -> Iterator[Row]:
    """All rows that the options ask for."""
    for seed, name, level in product(options.seeds.split(","), options.networks.split(","),
                                     options.levels.split(",")):  # fmt: skip
        if level not in LEVELS:
            raise SystemExit(f"no level {level!r}; known: {', '.join(LEVELS)}")
        yield Row(name, level, options.size, options.width, options.data.partition(":")[0],
                  options.images, options.epochs, int(seed))  # fmt: skip


def page(lines: Sequence[dict[str, str]]) -> str:
    """The rows as a page; what a proposal lost to its original comes first."""
    groups: dict[tuple[str, ...], dict[str, list[dict[str, str]]]] = {}
    for line in lines:
        group = (line["network"], *(line[name] for name in KEY[2:-1]))
        groups.setdefault(group, {}).setdefault(line["level"], []).append(line)
    parts = [HEAD]
    for group, levels in groups.items():
        parts += section(group, levels)
    return "\n".join(parts) + "\n"


HEAD = """# Optimized networks, trained

Written by `python benchmarks/optimized_retrained.py` from `retrained.csv`, a row per training.
Original and proposals have one recipe, the same images in the same order and a test split that is
read once per training; the optimizer saw the image size and the caps, and nothing trained. Widths
are shares of the published ones; times are CPU milliseconds of one image on one thread. A sign is
told only where all seeds agree on it; with three seeds that is no verdict. The paper
([arXiv 2009.05236](https://arxiv.org/abs/2009.05236)) claims up to +5.47 % accuracy and −65.38 %
parameters on other data; nothing here is meant to match that.
"""


def section(group: tuple[str, ...], levels: dict[str, list[dict[str, str]]]) -> list[str]:
    """One network on one data set."""
    name, size, width, spec, images, epochs = group
    rights = {level: {line["seed"]: float(line["accuracy"]) for line in found}
              for level, found in levels.items()}  # fmt: skip
    found = [f"## {name} at {size} pixels, {float(width):g} of its width",
             f"\n{spec}, {int(images):,} training images, {epochs} epochs; seeds "
             f"{', '.join(sorted(rights.get('original', {})))}.\n"]  # fmt: skip
    told = [versus(level, rights) for level in LEVELS if level in rights and level != "original"]
    found += [f"- {sentence}" for _, sentence in sorted(told)]
    found += ["", "| network | accuracy | parameters | MACs | ms | blocks, strides and kernels |",
              "|---|---|---|---|---|---|"]  # fmt: skip
    for level in LEVELS:
        if level in levels:
            found.append(cells(level, levels[level]))
    return [*found, ""]


def versus(level: str, rights: dict[str, dict[str, float]]) -> tuple[float, str]:
    """A proposal against the original on the seeds that both have; losses sort first."""
    before, after = rights.get("original", {}), rights[level]
    seeds = sorted(before.keys() & after.keys())
    if not seeds:
        return 0.0, f"{TOLD[level]}: no seed in common with the original yet."
    gaps = [100 * (after[seed] - before[seed]) for seed in seeds]
    mean = statistics.mean(gaps)
    verb = "better" if min(gaps) > 0 else "worse" if max(gaps) < 0 else "not told apart"
    each = ", ".join(f"{gap:+.1f}" for gap in gaps)
    return mean, f"{TOLD[level]}: **{verb}**, {mean:+.1f} points (by seed {each})."


def cells(level: str, lines: list[dict[str, str]]) -> str:
    """A row of the table."""
    right = [100 * float(line["accuracy"]) for line in lines]
    spread = f" ± {statistics.stdev(right):.1f}" if len(right) > 1 else ""
    spent = statistics.median(float(line["milliseconds"]) for line in lines)
    return (f"| {TOLD[level]} | {statistics.mean(right):.1f}{spread} % (n = {len(right)}) | "
            f"{int(lines[0]['params']):,} | {int(lines[0]['macs']) / 1e6:.1f} M | {spent:.2f} | "
            f"{lines[0]['proposal']} |")  # fmt: skip


def main() -> None:
    """Adds the rows that are missing, and writes the page."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--networks", default="resnet18")
    parser.add_argument("--levels", default="original,stage,stage10")
    parser.add_argument("--size", type=int, default=16)
    parser.add_argument("--width", type=float, default=0.5)
    parser.add_argument("--data", default="digits")
    parser.add_argument("--images", type=int, default=4000)
    parser.add_argument("--test-images", type=int, default=4000)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--out", type=Path, default=REPORT)
    parser.add_argument("--page", action="store_true", help="write the page, train nothing")
    options = parser.parse_args()
    torch.set_num_threads(1)
    path = options.out / "retrained.csv"
    if not options.page:
        add(list(wanted(options)), options.data, options.test_images, path)
    (options.out / "retrained.md").write_text(page(tables.read(path)), encoding="utf-8")


if __name__ == "__main__":
    main()
