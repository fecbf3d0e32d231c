"""The 3DRF-style metric: channels against finite changes, scores against counts by hand."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import nn
from torchvision.models.resnet import BasicBlock, ResNet

from rfsearch.analysis.capture import capture
from rfsearch.analysis.channels import batched, channels_from, live_nodes
from rfsearch.analysis.gain import gains
from rfsearch.analysis.parts import cut
from rfsearch.analysis.walk import walk
from rfsearch.engine.analyze import analyze, as_csv
from rfsearch.errors import UserError
from rfsearch.operators.rolling import DepthwiseRolling, RollingPointwise

SIZE = (12, 12)


class Parts(nn.Module):
    """Half of the channels go round; then concatenation, a slice and a dead branch."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 12, 3, 2, 1)
        self.side = nn.Conv2d(6, 6, 3, padding=1, groups=3)
        self.dead = nn.Conv2d(12, 12, 3, padding=1)
        self.last = nn.Conv2d(15, 9, 1, groups=3)

    def forward(self, x):
        x = self.stem(x).relu()
        left, right = x.split(6, 1)
        unused = self.dead(x) * 0.0
        return self.last(torch.cat([left, self.side(right), x[:, 2:5]], 1)) + unused[:, :9]


class Gate(nn.Module):
    """Squeeze-and-excitation over grouped convolutions."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, 2, 1)
        self.group = nn.Conv2d(8, 8, 3, padding=1, groups=4)
        self.gate = nn.Conv2d(8, 8, 1)

    def forward(self, x):
        x = self.group(self.conv(x))
        return x * self.gate(x.mean((2, 3), keepdim=True)).sigmoid()


class Shuffled(nn.Module):
    """Views that are written for one image."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 12, 3, 2, 1)
        self.one, self.two = (nn.Conv2d(12, 12, 3, padding=1, groups=3) for _ in range(2))

    def forward(self, x):
        x = self.one(self.stem(x))
        n, c, h, w = x.shape
        x = x.view(n, 3, c // 3, h, w).transpose(1, 2).reshape(n, c, h, w)
        return self.two(x)


def stacked(*layers):
    return nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1), *layers)


NETWORKS = {
    "grouped": lambda: stacked(nn.Conv2d(16, 16, 1, groups=4), nn.Conv2d(16, 32, 3, groups=8)),
    "shuffle": lambda: stacked(
        nn.Conv2d(16, 16, 1, groups=4), nn.ChannelShuffle(4), nn.Conv2d(16, 16, 1, groups=4)
    ),
    "rolling": lambda: stacked(*(RollingPointwise(16, 16, 4, 0.5) for _ in range(3))),
    "rolling cyclic": lambda: stacked(*(RollingPointwise(16, 16, 4, 0.5, "cyclic"),) * 2),
    "dw and rolling": lambda: stacked(DepthwiseRolling(16, 32, groups=4), nn.ReLU()),
    "transposed": lambda: stacked(nn.ConvTranspose2d(16, 8, 2, 2, groups=4), nn.MaxPool2d(2)),
    "parts": Parts,
    "gate": Gate,
    "views": Shuffled,
}


def probed(program, reference, names):
    """Channels of the reference that change an output channel, changed one at a time."""
    values = {}

    class Run(torch.fx.Interpreter):
        def run_node(self, n):
            found = super().run_node(n)
            if n.name == reference.node and "change" in values:
                found = found + values["change"].reshape([-1 if d == reference.dims[0] else 1
                                                          for d in range(4)])  # fmt: skip
            values[n.name] = found
            return found

    graph = copy.deepcopy(program).module().double()
    torch.manual_seed(1)
    image = torch.rand(1, 3, *SIZE, dtype=torch.float64) + 0.5
    runner = Run(graph)
    runner.run(image)
    clean = {name: values[name] for name in names}
    reached = {name: torch.zeros(v.shape[1], dtype=torch.int64) for name, v in clean.items()}
    for channel in range(reference.channels):
        values["change"] = torch.zeros(reference.channels, dtype=torch.float64)
        values["change"][channel] = 3.0
        own = reference.node in program.graph_signature.user_inputs
        runner.run(image + own * values["change"][:3].reshape(1, -1, 1, 1) if own else image)
        for name, before in clean.items():
            changed = (values[name] - before).abs().flatten(2).amax((0, 2)) > 1e-9
            reached[name] += changed
    return {name: int(counts.max()) for name, counts in reached.items()}


def read(module, size=SIZE, begin=()):
    torch.manual_seed(0)
    program = capture(module, size)
    analysis = walk(module, size, program=program)
    return program, analysis, gains(module, program, analysis, begin=begin)


@pytest.mark.parametrize("name", NETWORKS)
def test_channels_equal_a_probe_of_finite_changes(name):
    torch.manual_seed(0)
    module = NETWORKS[name]().eval()
    program = capture(module, SIZE)
    analysis = walk(module, SIZE, program=program)
    for part in cut(program, analysis, [analysis.layers[1].name]):
        nodes = frozenset(analysis.nodes[row] for row in part.rows)
        truth = None
        for batch in (128, 5):
            with batched(program, batch) as can:
                graph = program if can else capture(module, SIZE, 3, batch)
                found = channels_from(graph, part.reference, nodes, batch)
            assert can or name == "views"  # captured again where a batch of one is written down
            strict = {node: counts[0].strict for node, counts in found.items() if node in nodes}
            truth = truth or probed(program, part.reference, nodes & set(strict))
            assert strict == truth


def test_gates_are_left_out_of_the_metric_but_not_of_the_probe():
    _, analysis, found = read(Gate(), begin=("group",))
    by_name = {layer.name: row for layer, row in zip(analysis.layers, found.rows, strict=True)}
    assert by_name["group"].cumulative_field == 3 * 3 * 2
    assert by_name["gate"].cumulative_field == 6 * 6 * 8
    assert by_name[""].cumulative_field == 3 * 3 * 2  # the product


def test_rows_of_a_plain_stack_by_hand():
    net = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 8, 3, padding=1, groups=8),
                        nn.Conv2d(8, 4, 1, groups=2), nn.AvgPool2d(3, 1, 1))  # fmt: skip
    _, _, found = read(net, begin=("1",))
    stem, depthwise, grouped, pool = found.rows
    assert [row.local_field for row in found.rows] == [27, 9, 4, 9]
    assert [row.cumulative_field for row in found.rows] == [27, 9, 9 * 4, 25 * 4]
    assert stem.gain == pytest.approx(math.log(27))
    assert grouped.gain == pytest.approx(math.log(4))
    assert grouped.gain_per_param == pytest.approx(math.log(4) / (16 + 4))
    assert grouped.gain_per_mac == pytest.approx(math.log(4) / (4 * 4 * 36))
    assert pool.gain == pytest.approx(math.log(25 / 9))
    assert (pool.trainable, depthwise.trainable) == (False, True)
    assert pool.averaging == pytest.approx(-math.log(9))
    assert [part.rows for part in found.parts] == [(0,), (1, 2, 3)]


def test_what_leads_nowhere_is_dead_and_earns_nothing():
    program, analysis, found = read(Parts())
    live = {layer.name: row.live for layer, row in zip(analysis.layers, found.rows, strict=True)}
    assert not live["dead"]
    assert live["stem"] & live["side"] & live["last"]
    assert found.score.channels == pytest.approx(math.log(3) + math.log(2) + math.log(5))
    assert "image" not in live_nodes(program)


def richter():
    """Three stages of 3, 3 and 2 blocks, a 3×3 stem of stride 1: Richter's better network."""
    net = ResNet(BasicBlock, [3, 3, 2, 1])
    net.conv1, net.maxpool = nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.Identity()
    net.layer4, net.fc = nn.Identity(), nn.Linear(256, 1000)
    return net


@pytest.mark.parametrize(
    ("build", "score", "productive"),
    [(lambda: ResNet(BasicBlock, [2, 2, 2, 2]), 87.7, 10.8), (richter, 81.5, 35.8)],
    ids=["ResNet-18", "Richter's"],
)
def test_scores_of_methods_section_3(build, score, productive):
    """On 16 pixels, along the heaviest path, pooling counted: the numbers of the definition."""
    _, _, found = read(build().eval(), (16, 16))
    assert found.score.path == pytest.approx(score, abs=0.05)
    assert found.productive.path == pytest.approx(productive, abs=0.05)


def test_columns_in_csv_and_json():
    reading = analyze(Parts(), SIZE[0], gain=True)
    head = as_csv([reading]).splitlines()[0]
    assert head.endswith("local_field,cumulative_field,gain,gain_per_mac,gain_per_param,"
                         "trainable,live")  # fmt: skip
    record = reading.to_json()
    assert record["score"] == pytest.approx(record["gain"]["score"]["total"])
    assert record["layers"][0]["live"] is True


def test_a_stage_that_begins_nowhere_is_told():
    with pytest.raises(UserError, match="no layer 'stme' for a stage"):
        analyze(Parts(), SIZE[0], stages=("stme",))
