"""The walk equals the probe at every index, and a broken rule is found out."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torchvision import models
from torchvision.models.convnext import CNBlockConfig
from torchvision.models.detection.backbone_utils import mobilenet_backbone

from rfsearch import field
from rfsearch.analysis import attention, verify, windows
from rfsearch.analysis.capture import capture
from rfsearch.analysis.follow import trace
from rfsearch.analysis.verify import Comparison, compare
from rfsearch.analysis.walk import walk
from tests.analysis.networks import (
    CHANNELS,
    Constant,
    Lines,
    SqueezeExcite,
    branched,
    fitting,
    stacks,
)

PUBLISHED = {
    "mobilenet_v2 64×48": (lambda: models.mobilenet_v2(width_mult=0.25), (64, 48)),
    "mobilenet_v2 37×45": (lambda: models.mobilenet_v2(width_mult=0.25), (37, 45)),
    "resnet18 40×33": (models.resnet18, (40, 33)),
    "mobilenet_v3_small 37×33": (models.mobilenet_v3_small, (37, 33)),
    "shufflenet_v2 33×24": (models.shufflenet_v2_x0_5, (33, 24)),
    "densenet 32×36": (lambda: models.DenseNet(4, (2, 2, 2, 2), 8), (32, 36)),
    "convnext 33×40": (lambda: models.ConvNeXt(
        [CNBlockConfig(8, 16, 1), CNBlockConfig(16, None, 1)]), (33, 40)),
    "swin 36×40": (lambda: models.SwinTransformer([4, 4], 8, [2, 2], [2, 2], [4, 4]), (36, 40)),
    "vit 32×32": (lambda: models.VisionTransformer(32, 8, 2, 2, 8, 16), (32, 32)),
    "deeplabv3 33×24": (lambda: models.segmentation.deeplabv3_mobilenet_v3_large(
        weights=None, weights_backbone=None), (33, 24)),
    "pyramid of mobilenet 33×24": (lambda: mobilenet_backbone(
        backbone_name="mobilenet_v3_small", weights=None, fpn=True), (33, 24)),
}  # fmt: skip


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_networks(name):
    build, size = PUBLISHED[name]
    assert compare(build(), size, runs="every line").disagreements == ()


def test_pools_in_every_block_of_mobilenet():
    """Of 3, 5 and 7 by turns; `test_walk` has the fields of each everywhere."""
    net = models.mobilenet_v2(width_mult=0.25)
    for i in range(2, 18):
        kernel = (3, 5, 7)[i % 3]
        net.features[i].conv[1].append(nn.MaxPool2d(kernel, 1, kernel // 2))
    assert compare(net.features, (40, 33), runs="half-planes").disagreements == ()


PARTS = 16  # networks in one example


@settings(max_examples=2, suppress_health_check=list(HealthCheck))
@given(st.lists(st.one_of(stacks(), branched()), min_size=PARTS, max_size=PARTS),
       st.tuples(st.integers(5, 10), st.integers(5, 10)))  # fmt: skip
def test_captured_random_networks(parts, size):
    """Few, for their capture takes long: test_random_networks draws thousands of graphs."""
    net = fitting(parts, size)
    assume(len(net.parts))
    assert compare(net, size, runs="every line").disagreements == ()


def ends(net: nn.Module, kind: str) -> list[tuple[list[int], list[int]]]:
    """First and last pixel of the 8 output rows, and of the 8 output columns."""
    *_, (_, value) = trace(capture(net, (16, 16)))
    found = []
    for dim, axis in zip((2, 3), value.axes, strict=True):
        others = tuple({0, 1, 2, 3} - {dim})
        lo, hi = axis.reaches[kind].lo, axis.reaches[kind].hi
        full = np.broadcast_to(lo, value.shape), np.broadcast_to(hi, value.shape)
        found.append((full[0].min(others).tolist(), full[1].max(others).tolist()))
    return found


@pytest.mark.parametrize("gate", [SqueezeExcite, Lines])
def test_without_gates_equals_gates_replaced_by_constants(gate):
    first, second = nn.Conv2d(3, CHANNELS, 3, 2, 1), nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1)
    gated = nn.Sequential(first, gate(), second, gate())
    cut_out = nn.Sequential(first, Constant(), second, Constant())
    assert compare(cut_out, (16, 16)).disagreements == ()
    assert ends(gated, "seen_no_gates") == ends(cut_out, "seen")
    assert ends(gated, "seen") == [([0] * 8, [15] * 8)] * 2


def without(**forgotten: int) -> Callable[..., field.Taps]:
    """A rule that takes some settings of a window for granted."""
    names = ("n", "m", "kernel", "stride", "padding", "dilation")
    right = field.window_taps
    return lambda *given: right(**{**dict(zip(names, given, strict=True)), **forgotten})


BREAKS = {
    "dilation": (without(dilation=1), nn.Conv2d(3, 3, 3, dilation=2)),
    "padding": (without(padding=0), nn.MaxPool2d(3, 1, 1)),
    "stride": (without(stride=1), nn.AvgPool2d(2)),
    "kernel": (without(kernel=1), nn.Conv2d(3, 3, (1, 3))),
    "ceil_mode": (without(m=4), nn.AvgPool2d(2, ceil_mode=True)),  # 9 rows, 2 at a time
}


@pytest.mark.parametrize("rule", BREAKS)
def test_a_broken_rule_is_found(rule, monkeypatch):
    broken, layer = BREAKS[rule]
    assert compare(layer, (9, 9)).disagreements == ()
    monkeypatch.setattr(field, "window_taps", broken)
    assert compare(layer, (9, 9), runs="every line").disagreements != ()
    assert compare(layer, (9, 9), runs="half-planes").disagreements != ()


def deep() -> nn.Module:
    """Its field is 33 pixels: cut off by an image of 16."""
    layers = [nn.Conv2d(3, 3, 3, padding=wide, dilation=wide) for wide in (1, 2, 3, 4)]
    return nn.Sequential(*layers, nn.Conv2d(3, 3, 5, padding=6, dilation=3))


def test_a_strip_holds_the_whole_field():
    module = deep()
    found = list(verify.strips(module, walk(module, (16, 16))))
    assert [strip.image_size for strip in found] == [(128, 16), (16, 128)]
    assert all(strip.comparison.disagreements == () for strip in found)


def test_a_broken_rule_is_found_on_a_strip(monkeypatch):
    module = deep()
    whole = walk(module, (16, 16))
    monkeypatch.setattr(field, "window_taps", without(dilation=2))
    found = list(verify.strips(module, whole))
    assert [bool(strip.comparison.disagreements) for strip in found] == [True, True]


def test_no_strip_where_no_field_is_cut_off():
    module = nn.Conv2d(3, 3, 3, padding=1)
    assert list(verify.strips(module, walk(module, (16, 16)))) == []


def test_half_planes_are_as_many_as_the_budget_holds(monkeypatch):
    net = nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 3, 5, 2, 2))
    every = compare(net, (9, 40), runs="half-planes")
    assert every == Comparison((), 1.0)  # a small network: all borders
    monkeypatch.setattr(verify, "BUDGET", 0)
    few = compare(net, (9, 40))
    assert few.disagreements == ()
    assert 0.3 < few.looked_at < 0.8
    along = compare(net, (9, 40), axes=[1])
    assert along.looked_at < few.looked_at


def test_groups_left_out_of_a_join_are_found(monkeypatch):
    class Split(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 3, padding=1)
            self.grouped = nn.Conv2d(6, 6, 1, groups=2)

        def forward(self, x: Tensor) -> Tensor:
            return self.grouped(torch.cat([x, self.conv(x)], 1))

    assert compare(Split(), (5, 6)).disagreements == ()
    monkeypatch.setattr(windows, "mix_groups", lambda v, dim, groups, n: v.mix(dim, n))  # noqa: ARG005
    assert compare(Split(), (5, 6)).disagreements != ()


def test_holes_left_out_are_found(monkeypatch):
    """A column that sees nothing has no rows either."""
    net = nn.Sequential(nn.Conv2d(3, 3, 1), nn.ConvTranspose2d(3, 3, (1, 2), (1, 3)))
    assert compare(net, (5, 6)).disagreements == ()
    monkeypatch.setattr(field.Taps, "is_blind", False)
    assert compare(net, (5, 6)).disagreements != ()


def test_a_mask_left_out_is_found(monkeypatch):
    class Causal(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            t = x.flatten(2).mT
            return F.scaled_dot_product_attention(t, t, t, is_causal=True)

    assert compare(Causal(), (3, 4)).disagreements == ()
    monkeypatch.setattr(attention, "_closed", lambda call, mask: None)  # noqa: ARG005
    assert compare(Causal(), (3, 4)).disagreements != ()
