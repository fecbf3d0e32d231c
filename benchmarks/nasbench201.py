"""The 3DRF-style metric as a ranking of all 15,625 networks of NAS-Bench-201.

    python benchmarks/nasbench201.py RESULTS.csv [--out reports/3drf]

RESULTS.csv has a row per network: arch (the benchmark's string) and test accuracies. It is not
carried by this repository; our scores are, in scores.csv.gz. Nothing is trained: a score is a
closed form on the cell's graph, and tests compare it with the metric of `rfsearch analyze --gain`
on the networks themselves.
"""

from __future__ import annotations

import argparse
import gzip
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from math import log
from pathlib import Path

import numpy as np

import tables
from ranks import Numbers, partial, tau

OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
KERNELS = {"skip_connect": 1, "nor_conv_1x1": 1, "nor_conv_3x3": 3, "avg_pool_3x3": 3}
CONVOLUTIONS = ("nor_conv_1x1", "nor_conv_3x3")
WIDTHS, CELLS, SIZE = (16, 32, 64), 5, 32
DATASETS = {"cifar10_test": "CIFAR-10", "cifar100_test": "CIFAR-100",
            "imagenet16_test": "ImageNet16-120"}  # fmt: skip
DEAD = -1e9
"""The score of a network whose output does not depend on its image: all its layers are dead."""
CAP = 0.5
"""DeepMAD's bound on depth over width (arXiv 2303.02165)."""

Cell = tuple[str, ...]


def parse(arch: str) -> Cell:
    """Operations of the six edges, in the order of `EDGES`.

    >>> parse("|none~0|+|none~0|skip_connect~1|+|none~0|none~1|avg_pool_3x3~2|")[2]
    'skip_connect'
    """
    found = tuple(re.findall(r"(\w+?)~\d", arch))
    if len(found) != len(EDGES) or set(found) - set(OPERATIONS):
        raise ValueError(f"{arch!r} is no cell of NAS-Bench-201")
    return found


def spell(cell: Cell) -> str:
    """The benchmark's string."""
    a, b, c, d, e, f = cell
    return f"|{a}~0|+|{b}~0|{c}~1|+|{d}~0|{e}~1|{f}~2|"


def live_edges(cell: Cell) -> tuple[bool, ...]:
    """Whether each edge lies on a path from the cell's input to its output."""
    edges = [(i, j, name != "none") for (i, j), name in zip(EDGES, cell, strict=True)]
    ahead, back = {0}, {3}
    for i, j, is_open in edges:
        if is_open and i in ahead:
            ahead.add(j)
    for i, j, is_open in sorted(edges, key=lambda edge: -edge[1]):
        if is_open and j in back:
            back.add(i)
    return tuple(is_open and i in ahead and j in back for i, j, is_open in edges)


@dataclass(frozen=True)
class Edge:
    """An operation of a live edge, or a layer of the frame.

    Attributes:
        kernel, channels: k, and C_in of a convolution (0: it has no parameters).
        before, after: field of its input and output in pixels, not clipped.
        average: whether it averages.
    """

    kernel: int
    channels: int
    before: int
    after: int
    average: bool = False

    @property
    def spatial(self) -> float:
        """Δ log of the clipped field, height and width."""
        return 2 * (log(min(self.after, SIZE)) - log(min(self.before, SIZE)))


def layers(cell: Cell) -> list[Edge]:
    """Every live convolution and average of the whole network, parallel ones too; none where the
    cell passes nothing on. The projections beside the two reductions of the frame are left out:
    all networks have them."""
    alive = live_edges(cell)
    if not any(alive):
        return []
    found, field, jump = [Edge(3, 3, 1, 3)], 3, 1
    for number, width in enumerate(WIDTHS):
        if number:
            found.append(Edge(3, width // 2, field, field + 2 * jump))
            found.append(Edge(3, width, field + 2 * jump, field + 6 * jump))
            field, jump = field + 6 * jump, 2 * jump
        for _ in range(CELLS):
            nodes = {0: field}
            for (i, j), name, is_live in zip(EDGES, cell, alive, strict=True):
                if is_live:
                    after = nodes[i] + (KERNELS[name] - 1) * jump
                    nodes[j] = max(nodes.get(j, 0), after)
                    if name != "skip_connect":
                        channels = width if name in CONVOLUTIONS else 0
                        found.append(Edge(KERNELS[name], channels, nodes[i], after, not channels))
            field = nodes[3]
    return found


def score(cell: Cell) -> float:
    """Each live, trainable layer against its own input: Δ log(clipped R_h·R_w) + log C_in."""
    return sum(e.spatial + log(e.channels) for e in layers(cell) if e.channels)


def productive(cell: Cell) -> float:
    """The same, nothing for a layer whose input sees the whole image."""
    return sum(e.spatial + log(e.channels) for e in layers(cell) if e.channels and e.before < SIZE)


def with_pooling(cell: Cell) -> float:
    """The score and the spatial gain of layers without parameters."""
    return score(cell) + sum(e.spatial for e in layers(cell) if not e.channels)


def charged(cell: Cell) -> float:
    """The score, every layer's local term being log Σ w² of its weights, with w = 1 where they
    are trained: an average over k² inputs then costs log k² (ours)."""
    return score(cell) - sum(log(e.kernel**2) for e in layers(cell) if e.average)


def local(cell: Cell) -> float:
    """Σ log of local fields k²·C_in, of live layers."""
    return sum(log(e.kernel**2 * e.channels) for e in layers(cell) if e.channels)


def local_charged(cell: Cell) -> float:
    """Σ log Σ w² alone, without cumulative fields."""
    return local(cell) - sum(log(e.kernel**2) for e in layers(cell) if e.average)


def live_parameters(cell: Cell) -> float:
    """Weights of live convolutions of cells, and one for being alive at all."""
    return sum(e.kernel**2 * e.channels**2 for e in layers(cell)[1:] if e.channels) + 1


def live_macs(cell: Cell) -> float:
    """Multiply-adds of live convolutions of cells, at the resolution of their stage."""
    pixels = {width: (SIZE >> number) ** 2 for number, width in enumerate(WIDTHS)}
    in_cells = [(n, w) for n, live in zip(cell, live_edges(cell), strict=True) for w in WIDTHS
                if live and n in CONVOLUTIONS]  # fmt: skip
    return sum(KERNELS[n] ** 2 * w**2 * pixels[w] * CELLS for n, w in in_cells) + 1.0


def all_parameters(cell: Cell) -> float:
    """Weights of all convolutions of cells, dead ones too."""
    return float(sum(KERNELS[name] ** 2 for name in cell if name in CONVOLUTIONS))


def depth(cell: Cell) -> float:
    """Convolutions along the longest live path of a cell."""
    longest = {0: 0}
    for (i, j), name, is_live in zip(EDGES, cell, live_edges(cell), strict=True):
        if is_live:
            longest[j] = max(longest.get(j, 0), longest[i] + (name in CONVOLUTIONS))
    return float(longest.get(3, 0))


def entropy(cell: Cell) -> float:
    """DeepMAD-style: half the sum of log local fields, at most as deep as `CAP` times the
    geometric mean of k²·C allows (arXiv 2303.02165, without its weights by resolution)."""
    logs = [log(e.kernel**2 * e.channels) for e in layers(cell)[1:] if e.channels]
    if not logs:
        return 0.0
    allowed = CAP * float(np.exp(np.mean(logs)))
    return 0.5 * sum(logs) * min(1.0, allowed / len(logs))


MEASURES: dict[str, Callable[[Cell], float]] = {
    "score": score, "productive": productive, "score_with_pooling": with_pooling,
    "score_averaging_charged": charged, "local_fields": local,
    "local_fields_averaging_charged": local_charged, "live_parameters": live_parameters,
    "all_parameters": all_parameters, "live_macs": live_macs, "depth": depth, "entropy": entropy,
}  # fmt: skip
EVEN_IF_DEAD = ("all_parameters", "depth")
"""Baselines that know of no dead network."""


def measured(cell: Cell) -> dict[str, float]:
    """Every measure of one network, rounded, so that equal sums in another order are ties."""
    is_dead = not any(live_edges(cell))
    return {name: DEAD if is_dead and name not in EVEN_IF_DEAD else round(measure(cell), 6)
            for name, measure in MEASURES.items()}  # fmt: skip


def top_quartile(one: Numbers, accuracy: Numbers) -> float:
    """τ among the quarter of networks with the best accuracies."""
    best = accuracy >= np.quantile(accuracy, 0.75)
    return tau(one[best], accuracy[best])


def every_cell() -> list[Cell]:
    """All of the space, in a fixed order."""
    return list(product(OPERATIONS, repeat=len(EDGES)))


def table(scores: dict[str, Numbers], accuracies: dict[str, Numbers]) -> list[dict[str, str]]:
    """A row per measure: τ, partial τ given live MACs, τ in the best quarter, per data set."""
    rows = []
    for name, values in scores.items():
        row = {"measure": name}
        for key, accuracy in accuracies.items():
            row[f"tau_{key}"] = f"{tau(values, accuracy):.4f}"
            row[f"partial_{key}"] = f"{partial(values, accuracy, scores['live_macs']):.4f}"
            row[f"top_{key}"] = f"{top_quartile(values, accuracy):.4f}"
        rows.append(row)
        print(row, flush=True)
    return rows


def write_scores(cells: Sequence[Cell], scores: dict[str, Numbers], path: Path) -> None:
    """A row per network, compressed, byte for byte the same each time."""
    lines = [",".join(["arch", *scores])]
    for number, cell in enumerate(cells):
        lines.append(",".join([spell(cell), *(f"{v[number]:.12g}" for v in scores.values())]))
    with path.open("wb") as raw, gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as file:
        file.write("\n".join([*lines, ""]).encode())


def main() -> None:
    """Writes scores.csv.gz and nasbench201.csv."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", type=Path, help="arch and accuracies, a row per network")
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "reports" / "3drf")
    options = parser.parse_args()
    cells = every_cell()
    found = [measured(cell) for cell in cells]
    scores = {name: np.array([one[name] for one in found]) for name in MEASURES}
    options.out.mkdir(parents=True, exist_ok=True)
    write_scores(cells, scores, options.out / "scores.csv.gz")
    results = {parse(row["arch"]): row for row in tables.read(options.results)}
    accuracies = {key: np.array([float(results[cell][key]) for cell in cells])
                  for key in DATASETS}  # fmt: skip
    rows = table(scores, accuracies)
    tables.write(options.out / "nasbench201.csv", list(rows[0]), rows)


if __name__ == "__main__":
    main()
