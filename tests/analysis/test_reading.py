"""A network read: what goes into JSON, effective fields of every call, no module needed."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rfsearch.analysis.layers import COLUMNS
from rfsearch.analysis.reader import SEES, read, with_effective
from rfsearch.analysis.squares import SHARES, square_box


class Twice(nn.Module):
    """A module called twice and a functional convolution: hooks would miss both."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
        self.weight = nn.Parameter(torch.rand(3, 3, 5, 5))

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(self.conv(x)).relu_()
        return F.conv2d(x, self.weight, padding=2).add_(1)


def images(num: int = 3, size: int = 21) -> Tensor:
    return torch.randn(num, 3, size, size, generator=torch.Generator().manual_seed(0))


def constant(net: nn.Module) -> nn.Module:
    for parameter in net.parameters():
        nn.init.constant_(parameter, 0.1)
    return net


def test_every_call_has_an_effective_field():
    net = constant(Twice())
    reading, program = read(net, (21, 21))
    found = with_effective(reading, program, images().abs(), "ones")
    rows = [(row.name, row.call, row.effective_90_h) for row in found.layers if row.kind == "conv"]
    assert [(name, call) for name, call, _ in rows] == [("conv", 0), ("conv", 1), ("", 1)]
    sizes = [size for _, _, size in rows]
    assert sizes[0] == 3
    assert sizes == sorted(sizes)
    assert found.layers[2].effective_50_h is None, "an activation is not measured"
    assert found.effective.num_images == 3


def test_a_constant_network_by_hand():
    """Two 3×3 means: the mass is the product of two tents 1 2 3 2 1."""
    net = constant(nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 3, 3, padding=1)))
    reading, program = read(net, (21, 21))
    found = with_effective(reading, program, images(), "noise")
    tent = np.array([1, 2, 3, 2, 1])
    mass = found.effective.masses[1]
    assert np.allclose(mass[8:13, 8:13] / mass.max(), np.outer(tent, tent) / 9, atol=1e-5)
    assert found.effective.sizes[1][0.5] == (3, 3)  # 49 of 81
    assert found.effective.sizes[1][0.9] == (5, 5)


def test_sizes_grow_with_the_share_and_stay_within_the_field():
    torch.manual_seed(3)
    net = nn.Sequential(
        nn.Conv2d(3, 6, 7, 2, 3), nn.ReLU(), nn.Conv2d(6, 6, 3, 2, 1), nn.ReLU(),
        nn.MaxPool2d(2), nn.Conv2d(6, 6, 3, padding=1),
    )  # fmt: skip
    reading, program = read(net, (61, 45))
    found = with_effective(reading, program, torch.randn(4, 3, 61, 45), "noise")
    for row, sizes in zip(found.layers, found.effective.sizes, strict=True):
        assert (sizes is None) == (row.kind not in SEES)
        if sizes:
            heights = [sizes[share][0] for share in SHARES]
            assert heights == sorted(heights)
            assert max(heights) <= row.field_h


@pytest.mark.parametrize("share", SHARES)
def test_a_square_lies_in_the_mass(share):
    mass = np.zeros((20, 24))
    mass[5:11, 8:14] = np.random.default_rng(0).random((6, 6))
    top, left, height, width = square_box(mass, share)
    assert top >= 5
    assert top + height <= 11
    assert left >= 8
    assert left + width <= 14
    assert mass[top : top + height, left : left + width].sum() >= share * mass.sum() - 1e-12


def test_the_same_images_give_the_same_masses():
    net = Twice()
    found = []
    for _ in range(2):
        reading, program = read(net, (21, 21))
        found.append(with_effective(reading, program, images(), "noise").effective.masses[0])
    assert np.array_equal(*found)


def test_json():
    net = Twice()
    reading, program = read(net, (21, 24), model="mine", weights="random")
    plain = json.loads(reading.dumps())
    assert (plain["format"], plain["model"], plain["image_size"]) == (1, "mine", [21, 24])
    assert [tuple(row) for row in plain["layers"]] == [COLUMNS] * len(reading.layers)
    assert {"name", "sentence", "layers"} == set(plain["findings"][0])
    assert "effective" not in plain
    assert "verify" not in plain
    noise = torch.randn(2, 3, 21, 24)
    full = json.loads(with_effective(reading, program, noise, "noise").dumps())
    assert full["effective"]["log"] is False
    assert full["layers"][0]["effective_20_h"] <= full["layers"][0]["effective_99_h"]
    assert isinstance(full["layers"][0]["unproductive_h"], bool)


def test_behind_an_unknown_operator_fields_are_bounds():
    class Unknown(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 3, padding=1)

        def forward(self, x: Tensor) -> Tensor:
            return self.conv(torch.special.bessel_j0(self.conv(x)))

    reading, _ = read(Unknown(), (16, 16), ignore_unknown=True)
    assert [row["at_least"] for row in reading.rows() if row["kind"] == "conv"] == [False, True]
    (found,) = [one for one in reading.findings if one.name == "at-least"]
    assert "at least what is told" in found.sentence
