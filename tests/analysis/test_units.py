"""The boxes of centre units against the probe, and where there are none."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torchvision.models import alexnet

from rfsearch.analysis.capture import capture
from rfsearch.analysis.layers import Box
from rfsearch.analysis.probe import probe
from rfsearch.analysis.units import boxes, centres
from rfsearch.analysis.walk import walk


class Odd(nn.Module):
    """Even kernels, uneven padding, a skip, a transposed convolution, ragged pooling, a gate."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, (4, 3), (2, 1))
        self.body = nn.Conv2d(4, 4, 3, padding=1)
        self.up = nn.ConvTranspose2d(4, 4, 3, 2)
        self.gate = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(nn.functional.pad(x, (0, 2, 1, 0)))
        x = self.up(x + self.body(x).relu())
        x = nn.functional.adaptive_avg_pool2d(x, (7, 5))
        return x * self.gate(x.mean((2, 3))).sigmoid()[:, :, None, None]


@pytest.mark.parametrize("size", [(20, 31), (24, 24), (33, 18)])
def test_boxes_equal_the_probe(size):
    net = Odd()
    program = capture(net, size)
    nodes = walk(net, size, program=program).nodes
    known, truth = centres(program, nodes), probe(net, size)
    assert set(known) == set(nodes)
    for name, (unit, _) in known.items():
        rows, columns = truth[name]
        seen = (int(rows.lo[unit.index].min()), int(rows.hi[unit.index].max()),
                int(columns.lo[unit.index].min()), int(columns.hi[unit.index].max()))  # fmt: skip
        box = boxes(known, name)["seen"]
        ends = (box.top, box.top + box.height - 1, box.left, box.left + box.width - 1)
        assert ends == seen, name


def test_kinds_of_boxes():
    net = Odd().eval()
    program = capture(net, (40, 40))
    analysis = walk(net, (40, 40), program=program)
    found = boxes(centres(program, analysis.nodes), analysis.nodes[-1])
    assert found["field"].height > found["field_no_gates"].height > found["field_min"].height


def test_alexnets_last_map_by_hand():
    """AlexNet's last convolution: size 163, jump 16, start −63 − 1·16 (methods: 163)."""
    net = alexnet()
    program = capture(net, (224, 224))
    analysis = walk(net, (224, 224), program=program)
    last = analysis.of("features.10")
    node = analysis.nodes[analysis.layers.index(last)]
    box = boxes(centres(program, analysis.nodes), node)["field"]
    assert (box.height, box.width) == (163, 163)
    assert box.top == last.start_h + 16 * (13 // 2)


def test_tokens_have_no_centre():
    class Tokens(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.patches = nn.Conv2d(3, 8, 4, 4)
            self.linear = nn.Linear(8, 8)

        def forward(self, x: Tensor) -> Tensor:
            return self.linear(self.patches(x).flatten(2).transpose(1, 2))

    net = Tokens()
    program = capture(net, (16, 16))
    analysis = walk(net, (16, 16), program=program)
    known = centres(program, analysis.nodes)
    assert boxes(known, analysis.nodes[0])["field"] == Box(8, 8, 4, 4)
    assert boxes(known, analysis.nodes[-1]) == {}
    assert torch.is_grad_enabled()
