"""Does the 3DRF-style score rank networks that differ in groups, widths and kernels?

    python benchmarks/channel_axis.py [--networks 64] [--images 2000] [--epochs 8] [--seeds 0]
    python benchmarks/channel_axis.py --page

NAS-Bench-201 has one kernel size, one width and no groups, so it cannot say. Here are networks of
one depth and one layout that differ in nothing else: a stem and three stages on 16-pixel digits,
each stage a convolution (kernel, groups, up to depthwise) and a pointwise one (width, groups,
shuffle). They are drawn with seed 0, trained by one recipe on the same images, and ranked by
scores that are read from their graphs before anything is trained.

A row per training, on disk as soon as it is done: a stopped run goes on where it stopped. The cost
is told first. The page is written from the rows.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import nn

import fits
import tables
from ranks import Numbers, partial, tau
from rfsearch import data
from rfsearch.analysis.capture import capture
from rfsearch.analysis.gain import gains
from rfsearch.analysis.walk import walk
from rfsearch.seeds import numbers, stream
from rfsearch.training.evaluation import accuracy
from rfsearch.training.fit import Fit
from rfsearch.training.randomness import seeded

SIZE, CLASSES, STAGES = (16, 16), 10, 3
WIDTHS, KERNELS, GROUPS, POINTWISE = (8, 16, 24, 32, 48), (1, 3, 5, 7), (1, 2, 4, 8, 0), (1, 2, 4)
"""Groups of 0 stand for depthwise."""
STRIDES = (1, 2, 1)
TEST_IMAGES, DRAWS = 4000, 2000
KEY = ("network", "images", "epochs", "seed")
MEASURES = ("score", "productive", "path", "params", "macs")
COLUMNS = (*KEY, "accuracy", *MEASURES, "minutes")
TOLD = {"score": "score (3DRF-style)", "productive": "productive score",
        "path": "score, heaviest path", "params": "parameters", "macs": "MACs"}  # fmt: skip
REPORT = Path(__file__).parents[1] / "reports" / "3drf"


@dataclass(frozen=True)
class Stage:
    """A convolution that keeps its channels, and a pointwise one to ``width``."""

    kernel: int
    groups: int
    width: int
    pointwise_groups: int


@dataclass(frozen=True)
class Drawn:
    """A network as data."""

    stem: int
    stages: tuple[Stage, ...]
    shuffles: bool

    @property
    def label(self) -> str:
        """Such as ``16 · 3g4 32g2 · 5dw 24 · 1 48 · shuffled``."""
        parts = [str(self.stem)]
        for one in self.stages:
            groups = {0: "dw", 1: ""}.get(one.groups, f"g{one.groups}")
            behind = f"g{one.pointwise_groups}" if one.pointwise_groups > 1 else ""
            parts.append(f"{one.kernel}{groups} {one.width}{behind}")
        return " · ".join([*parts, *(["shuffled"] if self.shuffles else [])])


def draw(count: int) -> list[Drawn]:
    """Different networks, the first of a longer list too."""
    rng = numbers(0, "benchmarks", "channel_axis")
    found: dict[Drawn, None] = {}
    while len(found) < count:
        stages = tuple(Stage(*(int(rng.choice(values)) for values in
                               (KERNELS, GROUPS, WIDTHS, POINTWISE)))
                       for _ in range(STAGES))  # fmt: skip
        found[Drawn(int(rng.choice(WIDTHS[:3])), stages, bool(rng.integers(2)))] = None
    return list(found)


def build(net: Drawn) -> nn.Module:
    """(N, 1, 16, 16) to logits (N, 10)."""
    parts: list[nn.Module] = _conv(1, net.stem, 3, 2, 1)
    widths = [net.stem, *(stage.width for stage in net.stages)]
    for (inside, width), stage, stride in zip(pairwise(widths), net.stages, STRIDES, strict=True):
        parts += _conv(inside, inside, stage.kernel, stride, stage.groups or inside)
        parts += _conv(inside, width, 1, 1, stage.pointwise_groups)
        if net.shuffles and stage.pointwise_groups > 1:
            parts.append(nn.ChannelShuffle(stage.pointwise_groups))
    return nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(),
                         nn.Linear(widths[-1], CLASSES))  # fmt: skip


def _conv(inside: int, width: int, kernel: int, stride: int, groups: int) -> list[nn.Module]:
    conv = nn.Conv2d(inside, width, kernel, stride, kernel // 2, groups=groups, bias=False)
    return [conv, nn.BatchNorm2d(width), nn.ReLU(True)]


def measured(net: Drawn) -> dict[str, float]:
    """What its graph says; no weights enter."""
    with seeded(0):
        network = build(net).eval()
    program = capture(network, SIZE, 1)
    analysis = walk(network, SIZE, 1, program)
    metric = gains(network, program, analysis, 1)
    return {
        "score": metric.score.total, "productive": metric.productive.total,
        "path": metric.score.path, "params": analysis.totals.params,
        "macs": analysis.totals.macs,
    }  # fmt: skip


def training(net: Drawn, made: data.Dataset, epochs: int, seed: int) -> Fit:
    """At its start."""
    with seeded(stream(seed, "channel axis", "weights")):
        network = build(net)
    return fits.begin(network, made, epochs, seed)


def row(
    net: Drawn, options: argparse.Namespace, seed: int, made: data.Dataset
) -> dict[str, object]:
    """The line of one training."""
    began = time.process_time()
    fit = training(net, made, options.epochs, seed)
    while not fit.finished:
        fit.advance()
    right = accuracy(fit.network, made.test, fit.augmentation)
    minutes = (time.process_time() - began) / 60
    scores = measured(net)
    told = {name: f"{value:.6g}" if isinstance(value, float) else value
            for name, value in scores.items()}  # fmt: skip
    return {"network": net.label, "images": options.images, "epochs": options.epochs,
            "seed": seed, "accuracy": f"{right:.4f}", **told,
            "minutes": f"{minutes:.3f}"}  # fmt: skip


def expected(nets: Sequence[Drawn], made: data.Dataset, epochs: int) -> float:
    """CPU minutes of a training, by a few steps of some of the networks."""
    some = nets[:: max(1, len(nets) // 8)]
    return sum(fits.expected(training(net, made, epochs, 0), made) for net in some) / len(some)


def add(options: argparse.Namespace, path: Path) -> None:
    """Train what is missing."""
    nets, seeds = draw(options.networks), [int(seed) for seed in options.seeds.split(",")]
    done = {tuple(line[name] for name in KEY) for line in tables.read(path)}
    made = data.load("digits", image_size=SIZE, images=options.images, test_images=TEST_IMAGES)
    missing = [
        (net, seed)
        for seed in seeds
        for net in nets
        if (net.label, str(options.images), str(options.epochs), str(seed)) not in done
    ]
    each = expected(nets, made, options.epochs)
    print(f"{len(missing)} trainings of about {60 * each:.1f} s, {each * len(missing):.1f} CPU "
          "minutes", flush=True)  # fmt: skip
    for net, seed in missing:
        line = row(net, options, seed, made)
        tables.append(path, COLUMNS, line)
        print(*line.values(), flush=True)


def interval(one: Numbers, other: Numbers) -> tuple[float, float]:
    """95 % of bootstrap draws of networks."""
    rng = np.random.default_rng(0)
    picks = rng.integers(len(one), size=(DRAWS, len(one)))
    found = [tau(one[pick], other[pick]) for pick in picks]
    low, high = np.nanquantile(found, [0.025, 0.975])
    return float(low), float(high)


def page(lines: Sequence[dict[str, str]]) -> str:
    """The rows as a page, a section per budget."""
    groups: dict[tuple[str, str], list[dict[str, str]]] = {}
    for line in lines:
        groups.setdefault((line["images"], line["epochs"]), []).append(line)
    return "\n".join([HEAD, *(part for key, own in groups.items() for part in section(key, own))])


HEAD = """# The channel axis

Written by `python benchmarks/channel_axis.py` from `channel_axis.csv`, a row per training.
Networks of one depth and layout, drawn with seed 0, that differ in groups (1 to depthwise), widths
(8 to 48) and kernels (1 to 7), trained on 16-pixel digits by one recipe. Kendall's τ-b between
accuracy on the test split (mean over training seeds) and what the definition alone says; intervals
hold 95 % of 2,000 bootstrap draws of the networks. The formulas are a reconstruction
(`rfsearch/analysis/gain.py`).
"""


def section(key: tuple[str, str], lines: Sequence[dict[str, str]]) -> list[str]:
    """One budget."""
    by_net: dict[str, list[dict[str, str]]] = {}
    for line in lines:
        by_net.setdefault(line["network"], []).append(line)
    right = np.array([np.mean([float(one["accuracy"]) for one in own])
                      for own in by_net.values()])  # fmt: skip
    values = {name: np.array([float(own[0][name]) for own in by_net.values()])
              for name in MEASURES}  # fmt: skip
    taus = {name: tau(values[name], right) for name in MEASURES}
    minutes = sum(float(line["minutes"]) for line in lines)
    seeds = sorted({int(line["seed"]) for line in lines})
    found = [f"## {len(by_net)} networks, {int(key[0]):,} images, {key[1]} epochs", ""]
    found += [f"Seeds {', '.join(map(str, seeds))}; {minutes:.1f} CPU minutes; accuracies from "
              f"{100 * right.min():.1f} to {100 * right.max():.1f} %, median "
              f"{100 * np.median(right):.1f} %.", "", f"**{verdict(taus)}**", ""]  # fmt: skip
    found += ["| measure | τ | 95 % | given parameters | given MACs |", "|---|---|---|---|---|"]
    for name in MEASURES:
        low, high = interval(values[name], right)
        given = [_number(partial(values[name], right, values[other]))
                 for other in ("params", "macs")]  # fmt: skip
        found.append(f"| {TOLD[name]} | {taus[name]:.3f} | {low:.2f} to {high:.2f} | "
                     f"{given[0]} | {given[1]} |")  # fmt: skip
    return [*found, ""]


def verdict(taus: dict[str, float]) -> str:
    """Whether the score ranks better than what is counted without it."""
    better = max(("params", "macs"), key=taus.__getitem__)
    side = "ranks better than" if taus["score"] > taus[better] else "does not rank better than"
    return (f"The score {side} the better of parameters and MACs: τ {taus['score']:.3f} against "
            f"{taus[better]:.3f} for {TOLD[better]}.")  # fmt: skip


def _number(value: float) -> str:
    return "–" if np.isnan(value) else f"{value:.3f}"


def main() -> None:
    """Adds the rows that are missing, and writes the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--networks", type=int, default=64)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--out", type=Path, default=REPORT)
    parser.add_argument("--page", action="store_true", help="write the page, train nothing")
    options = parser.parse_args()
    torch.set_num_threads(1)
    path = options.out / "channel_axis.csv"
    if not options.page:
        add(options, path)
    (options.out / "channel_axis.md").write_text(page(tables.read(path)), encoding="utf-8")


if __name__ == "__main__":
    main()
