"""The closed form on NAS-Bench-201 cells against the metric of the networks themselves."""

from __future__ import annotations

import csv
import gzip
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import rankdata
from torch import nn

import nasbench201 as bench
from rfsearch.analysis.capture import capture
from rfsearch.analysis.gain import gains
from rfsearch.analysis.walk import walk

TOP = Path(__file__).parents[2]
RESULTS = TOP.parent / "shared/data/nasbench201/nasbench201_200ep.csv"
CELLS = (
    "|nor_conv_3x3~0|+|avg_pool_3x3~0|nor_conv_1x1~1|+|skip_connect~0|nor_conv_3x3~1|none~2|",
    "|none~0|+|nor_conv_3x3~0|avg_pool_3x3~1|+|nor_conv_1x1~0|none~1|avg_pool_3x3~2|",
    "|none~0|+|none~0|nor_conv_3x3~1|+|none~0|nor_conv_1x1~1|none~2|",
)


class Cell(nn.Module):
    """Nodes are sums of operations on the nodes before."""

    def __init__(self, cell, width):
        super().__init__()
        made = {
            "skip_connect": nn.Identity, "avg_pool_3x3": lambda: nn.AvgPool2d(3, 1, 1),
            "nor_conv_1x1": lambda: nn.Conv2d(width, width, 1),
            "nor_conv_3x3": lambda: nn.Conv2d(width, width, 3, padding=1),
        }  # fmt: skip
        self.edges = [e for e, name in zip(bench.EDGES, cell, strict=True) if name != "none"]
        self.operations = nn.ModuleList(made[name]() for name in cell if name != "none")

    def forward(self, x):
        nodes = [x, *(torch.zeros_like(x) for _ in range(3))]
        for (i, j), operation in zip(self.edges, self.operations, strict=True):
            nodes[j] = nodes[j] + operation(nodes[i])
        return nodes[3]


def network(cell, widths):
    parts = [nn.Conv2d(3, widths[0], 3, padding=1)]
    for number, width in enumerate(widths):
        if number:
            parts += [nn.Conv2d(width // 2, width, 3, 2, 1), nn.Conv2d(width, width, 3, 1, 1)]
        parts += [Cell(cell, width)]
    return nn.Sequential(*parts)


@pytest.mark.parametrize("arch", CELLS)
def test_closed_form_equals_the_metric(arch, monkeypatch):
    monkeypatch.setattr(bench, "CELLS", 1)
    monkeypatch.setattr(bench, "WIDTHS", (4, 8))
    monkeypatch.setattr(bench, "SIZE", 12)
    cell = bench.parse(arch)
    net = network(cell, (4, 8)).eval()
    program = capture(net, (12, 12))
    found = gains(net, program, walk(net, (12, 12), program=program))
    assert bench.score(cell) == pytest.approx(found.score.total)
    assert bench.productive(cell) == pytest.approx(found.productive.total)
    assert bench.with_pooling(cell) == pytest.approx(found.score.total + found.score.free)
    assert bench.charged(cell) == pytest.approx(found.score.total + found.score.averaging)
    if not any(bench.live_edges(cell)):
        assert found.score.total == 0


def test_all_cells_are_spelled_and_read_back():
    cells = bench.every_cell()
    assert len(set(cells)) == 15_625
    assert all(bench.parse(bench.spell(cell)) == cell for cell in cells[::97])


def tau_b(one, other):
    """Kendall's τ-b from its definition, a row of signs at a time; shares no code with scipy's."""
    one, other = (rankdata(values, "dense").astype(np.int16) for values in (one, other))
    agree = ties_one = ties_other = 0
    for k in range(len(one)):
        a, b = np.sign(one[k] - one), np.sign(other[k] - other)
        agree += int((a * b).sum(dtype=np.int64))
        ties_one += int((a != 0).sum())
        ties_other += int((b != 0).sum())
    return agree / (ties_one * ties_other) ** 0.5


@pytest.mark.slow
@pytest.mark.skipif(not RESULTS.exists(), reason="the benchmark's results are not here")
def test_tau_of_the_published_scores():
    """From our scores as they are carried, by code of its own."""
    with gzip.open(TOP / "reports/3drf/scores.csv.gz", "rt") as file:
        scores = {row["arch"]: row for row in csv.DictReader(file)}
    with RESULTS.open() as file:
        results = {row["arch"]: row for row in csv.DictReader(file)}
    expected = {("live_parameters", "cifar10_test"): 0.6571,
                ("score", "cifar100_test"): 0.6473,
                ("local_fields_averaging_charged", "imagenet16_test"): 0.6937}  # fmt: skip
    archs = list(results)
    for (measure, data), value in expected.items():
        one = np.array([float(scores[arch][measure]) for arch in archs])
        other = np.array([float(results[arch][data]) for arch in archs])
        assert tau_b(one, other) == pytest.approx(value, abs=0.0001), (measure, data)
