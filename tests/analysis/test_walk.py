"""The walk's rows: published fields, costs against torch's counter, paths by enumeration."""

from __future__ import annotations

import csv
from functools import cache

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from torchvision import models

from rfsearch.analysis.layers import COLUMNS, Analysis, write_layers
from rfsearch.analysis.walk import walk
from rfsearch.errors import UserError


def on_paper(build, **arguments):
    """A network without weights: the walk needs shapes alone."""
    with torch.device("meta"):
        return build(**arguments)


DILATED = {"replace_stride_with_dilation": [False, True, True]}
GOLDENS = [  # network, arguments, layer, size, jump, start
    (models.alexnet, {}, "features.10", 163, 16, None),
    (models.alexnet, {}, "features.12", 195, 32, None),
    (models.vgg16, {}, "features.28", 196, 16, None),
    (models.vgg16, {}, "features.30", 212, 32, None),
    (models.resnet18, {}, "layer4.1.conv2", 435, 32, -217),
    (models.resnet50, {}, "layer4.2.conv3", 427, 32, -213),
    (models.resnet50, DILATED, "layer4.2.conv3", 427, 8, -213),
    (models.mobilenet_v2, {}, "features.18.0", 491, 32, -245),
    (models.convnext_tiny, {}, "features.7.2.block.0", 1688, 32, None),
    (models.densenet121, {}, "features.denseblock4.denselayer16.conv2", 2071, 32, None),
]


@pytest.mark.parametrize(("build", "arguments", "layer", "size", "jump", "start"), GOLDENS)
def test_published_fields(build, arguments, layer, size, jump, start):
    found = walk(on_paper(build, **arguments), (224, 192))
    row = found.of(layer)
    assert row.field_h == row.field_w == row.field_no_gates_h == row.field_no_gates_w == size
    assert (row.jump_h, row.jump_w) == (jump, jump)
    assert row.field_clipped_h <= 224
    assert row.field_clipped_w <= 192
    assert start is None or row.start_h == row.start_w == start
    assert sum(layer.params for layer in found.layers) == found.totals.params
    assert found.joins == ()  # all of these are aligned


@cache
def mobilenet() -> Analysis:
    return walk(on_paper(models.mobilenet_v2), (224, 224))


@pytest.mark.parametrize(
    ("kernel", "size", "million"), [(3, 1035, 17), (5, 1579, 47), (7, 2123, 93)]
)
def test_pools_in_every_block_of_mobilenet(kernel, size, million):
    net, plain = on_paper(models.mobilenet_v2), mobilenet()
    for i in range(2, 18):
        net.features[i].conv[1].append(nn.MaxPool2d(kernel, 1, kernel // 2))
    found = walk(net, (224, 224))
    assert found.of("features.18.0").field_h == size
    added = found.totals.window_ops - plain.totals.window_ops
    assert added // 10**6 == million
    assert added == sum(found.of(f"features.{i}.conv.1.3").window_ops for i in range(2, 18))
    assert found.totals.macs == plain.totals.macs
    row = found.of("features.17.conv.1.3")
    assert (row.kind, row.kernel_h, row.out_channels, row.height) == ("pool", kernel, 960, 7)


def test_numbers_of_mobilenet():
    found = mobilenet()
    assert found.totals.params == 3_504_872
    assert found.totals.macs == 300_774_272
    stem, last = found.layers[0], found.layers[-1]
    assert (stem.name, stem.call, stem.kind, stem.kernel_h, stem.stride_w) == (
        "features.0.0", 0, "conv", 3, 2)  # fmt: skip
    assert (stem.in_channels, stem.out_channels, stem.height) == (3, 32, 112)
    assert stem.source.startswith("torchvision/models/mobilenetv2.py:")
    assert stem.padding_share == pytest.approx(1 - (335 / 336) ** 2)
    assert (last.name, last.kind, last.in_channels, last.out_channels) == (
        "classifier.1", "linear", 1280, 1000)  # fmt: skip


@pytest.mark.parametrize("build", [models.mobilenet_v2, models.resnet18, models.googlenet,
                                   models.mobilenet_v3_small, models.convnext_tiny])  # fmt: skip
def test_macs_equal_torchs_counter(build):
    net = on_paper(build, **({"init_weights": False} if build is models.googlenet else {})).eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        net(torch.zeros(1, 3, 96, 128, device="meta"))
    assert walk(net, (96, 128)).totals.macs == counter.get_total_flops() / 2


class Odd(nn.Module):
    """A module called twice, functional calls, a parameter of its own, a gate, weights unused."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, (1, 7), padding=(0, 3))
        self.act = nn.ReLU(inplace=True)
        self.scale = nn.Parameter(torch.ones(3))
        self.unused = nn.Linear(2, 2)

    def forward(self, x: Tensor) -> Tensor:
        y = self.act(self.conv(x))
        y = self.act(self.conv(y) * self.scale.exp().view(1, -1, 1, 1))
        return y * torch.sigmoid(y.mean((2, 3), keepdim=True)) + x


def test_rows_follow_calls():
    net = Odd().train()
    found = walk(net, (20, 30))
    assert net.training
    rows = [(row.name, row.call, row.kind, row.params) for row in found.layers]
    assert rows == [
        ("conv", 0, "conv", 66), ("act", 0, "activation", 0),
        ("conv", 1, "conv", 0), ("", 0, "other", 3), ("act", 1, "activation", 0),
        ("", 1, "pool", 0), ("", 2, "activation", 0), ("", 3, "join", 0), ("", 4, "join", 0),
    ]  # fmt: skip
    assert found.totals.params == 66 + 3 + 6
    second, gate, end = found.of("conv", 1), found.of("", 3), found.of("", 4)
    assert (second.field_h, second.field_w, second.field_min_w) == (1, 13, 13)
    assert (gate.field_clipped_h, gate.field_clipped_w) == (20, 30)
    assert (gate.field_no_gates_h, gate.field_no_gates_w) == (1, 13)
    assert (end.field_no_gates_w, end.field_min_w) == (13, 1)
    assert found.of("", 1).window_ops == 3 * 20 * 30


def test_asymmetric_kernels():
    net = nn.Sequential(nn.Conv2d(3, 3, (1, 7)), nn.Conv2d(3, 3, (3, 1)))
    row = walk(net, (32, 32)).of("1")
    assert (row.field_h, row.field_w) == (3, 7)


def test_unproductive_layers():
    """The input sees all rows already (9 of 8), or only the centre tap meets data."""
    net = nn.Sequential(*(nn.Conv2d(3, 3, (3, 1), padding=(1, 0)) for _ in range(5)))
    found = walk(net, (8, 40))
    assert [row.unproductive_h for row in found.layers] == [False] * 4 + [True]
    assert [row.unproductive_w for row in found.layers] == [False] * 5
    skips = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(3, 3, 3, padding=1))
    assert walk(skips, (99, 99)).of("1").unproductive_w


def test_csv(tmp_path):
    with torch.device("meta"):
        net = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.MaxPool2d(2))
    found = walk(net, (6, 8), channels=1)
    write_layers(found.layers, tmp_path / "layers.csv")
    with (tmp_path / "layers.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    assert ",".join(header) == (
        "name,call,kind,kernel_h,kernel_w,stride_h,stride_w,in_channels,out_channels,height,width,"
        "field_h,field_w,field_no_gates_h,field_no_gates_w,field_min_h,field_min_w,"
        "field_clipped_h,field_clipped_w,jump_h,jump_w,start_h,start_w,padding_share,"
        "effective_50_h,effective_50_w,effective_90_h,effective_90_w,params,macs,window_ops,"
        "unproductive_h,unproductive_w,source"
    )
    assert tuple(header) == COLUMNS
    row = dict(zip(header, rows[1], strict=True))
    assert (row["name"], row["kind"], row["field_h"], row["jump_w"]) == ("1", "pool", "4", "2")
    assert (row["start_h"], row["effective_50_h"], row["window_ops"]) == ("-1", "", "96")


class Unknown(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.linalg.inv(x)


def test_an_operator_without_a_rule_is_named():
    with pytest.raises(UserError) as caught:
        walk(nn.Sequential(nn.Conv2d(3, 3, 1), Unknown()), (8, 8))
    message = str(caught.value)
    assert "no rule for operator aten.linalg_inv.default, called by 1 at test_walk.py:" in message
    assert "a line in the table of rfsearch/analysis/rules.py" in message


def test_memory_that_is_not_in_plain_order_is_told():
    class Strided(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.transpose(2, 3).as_strided((1, 3, 4, 4), (64, 16, 4, 1))

    with pytest.raises(UserError, match=r"memory is not in plain order.*contiguous\(\)"):
        walk(Strided(), (8, 8))
    assert [row.at_least for row in walk(Strided(), (8, 8), ignore_unknown=True).layers] == [True]


def test_windows_drawn_at_random_have_no_field():
    with pytest.raises(UserError, match=r"fractional_max_pool2d.*draws its windows at random"):
        walk(nn.FractionalMaxPool2d(2, 3), (8, 8))


def test_an_image_too_small_is_told():
    with pytest.raises(UserError, match="images of 16×16 pixels are too small for"):
        walk(on_paper(models.alexnet), (16, 16))


def test_constants_need_no_rule():
    class Positions(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x + torch.linspace(0, 1, x.shape[3]).cumsum(0).flip(0)

    found = walk(nn.Sequential(nn.Conv2d(3, 3, 3), Positions()), (8, 8))
    assert [row.name for row in found.layers] == ["0"]
    assert np.sum([row.params for row in found.layers]) == 84


class Behind(nn.Module):
    """Layers before and behind an operator without a rule, and a branch without it."""

    def __init__(self) -> None:
        super().__init__()
        self.before = nn.Conv2d(3, 3, 3, padding=1)
        self.behind = nn.Conv2d(3, 3, 3, padding=1)
        self.beside = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.before(x)
        return self.beside(x) + self.behind(torch.linalg.inv(x))


def test_unknown_operators_can_be_ignored():
    found = walk(Behind(), (8, 8), ignore_unknown=True)
    marked = {(row.name, row.kind): row.at_least for row in found.layers}
    assert marked == {("before", "conv"): False, ("beside", "conv"): False, ("", "other"): True,
                      ("behind", "conv"): True, ("", "join"): True}  # fmt: skip
    assert found.of("behind").field_h == 5
    assert "at_least" not in found.rows()[0]


def test_an_ignored_operator_of_another_shape_is_one_element():
    class Singular(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.linalg.svdvals(x)

    net = nn.Sequential(nn.Conv2d(3, 3, 3), Singular(), nn.Linear(6, 2))
    row = walk(net, (8, 8), ignore_unknown=True).of("2")
    assert (row.field_h, row.field_w, row.at_least) == (3, 3, True)


def test_fields_that_the_image_chooses_are_marked():
    class Sampled(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return nn.functional.grid_sample(x, x[:, :2].permute(0, 2, 3, 1), align_corners=False)

    found = walk(nn.Sequential(nn.Conv2d(3, 3, 3), Sampled(), nn.ReLU()), (8, 9))
    assert [row.at_most for row in found.layers] == [False, True, True]
    assert (found.layers[-1].field_clipped_h, found.layers[-1].field_clipped_w) == (8, 9)


class Pyramid(nn.Module):
    """Pools of several sizes, enlarged and concatenated; and a sum with an even kernel."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 3, 3, 2, 1)
        self.even = nn.Conv2d(3, 3, 2, 2)
        self.same = nn.Conv2d(3, 3, 5, 2, 2)

    def forward(self, x: Tensor) -> Tensor:
        y = self.stem(x) + self.same(x)
        y = y + self.even(x)
        large = nn.functional.interpolate(nn.functional.adaptive_avg_pool2d(y, 2), y.shape[2:])
        return torch.cat([y, large], 1) * y.mean((1, 2, 3), keepdim=True)


def test_joins_that_do_not_align_are_told():
    found = walk(Pyramid(), (16, 24))
    told = [(join.name, join.call, join.axis) for join in found.joins]
    assert told == [("", 1, "h"), ("", 1, "w"), ("", 4, "h"), ("", 4, "w")]
    even, pyramid = found.joins[0], found.joins[3]
    assert even.jumps == (2, 2)
    assert even.offsets == ((0, 0), (0.5, 0.5))
    low, high = pyramid.offsets[1]
    assert low < 0 < high
    assert pyramid.source.startswith("test_walk.py:")


def test_maps_with_channels_last_have_height_and_width():
    with torch.device("meta"):
        net = models.SwinTransformer([4, 4], 8, [1, 1], [2, 2], [4, 4])
    row = walk(net, (32, 64)).of("features.1.0.norm1")
    assert (row.height, row.width, row.out_channels) == (8, 16, 8)


def test_what_is_written_into_views_is_seen():
    class Written(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            y = x.clone()
            y[:, :, 1:] = x[:, :, :-1] + y[:, :, 1:]
            return y

    row = walk(nn.Sequential(Written(), nn.Conv2d(3, 3, 1)), (8, 8)).of("1")
    assert (row.field_clipped_h, row.field_clipped_w) == (2, 1)
