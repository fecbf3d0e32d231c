"""Networks of signals and of volumes, read as images."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import rfsearch
from rfsearch.analysis.inputs import as_image, settle, taking_images
from rfsearch.errors import UserError
from rfsearch.field import window


def signals() -> nn.Module:
    return nn.Sequential(
        nn.Conv1d(2, 4, 5, 2, 2), nn.BatchNorm1d(4), nn.ReLU(), nn.MaxPool1d(3, 2),
        nn.Conv1d(4, 4, 3, dilation=2), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(4, 3),
    )  # fmt: skip


def volumes() -> nn.Module:
    return nn.Sequential(
        nn.Conv3d(2, 4, (3, 5, 3), (2, 2, 1), (1, 2, 0)), nn.BatchNorm3d(4), nn.ReLU(),
        nn.MaxPool3d((1, 3, 2), (1, 2, 2)), nn.Conv3d(4, 4, 3, 1, (1, 0, 0), (1, 1, 2)),
        nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(4, 3),
    )  # fmt: skip


def test_signals_are_images_of_height_1():
    net = signals()
    found = rfsearch.analyze(net, 64, verify=True)
    assert (found.analysis.image_size, found.disagreements) == ((1, 64), ())
    assert found.looked_at == 1
    last = found.analysis.of("4")
    first = window(5, 2, 2)
    closed = first.then(window(3, 2)).then(window(3, dilation=2))
    assert (last.field_w, last.jump_w, last.start_w) == (closed.size, closed.jump, closed.start)
    assert (last.kernel_h, last.kernel_w, last.stride_w) == (1, 3, 1)
    assert (last.field_h, last.jump_h, last.start_h, last.height, last.width) == (1, 1, 0, 1, 11)
    assert (last.in_channels, last.out_channels, last.macs) == (4, 4, 4 * 4 * 3 * 11)
    assert [stage.jump_w for stage in found.stages] == [2, 4]
    assert not net._forward_pre_hooks


def test_unproductive_layers_of_signals():
    net = nn.Sequential(nn.Conv1d(1, 1, 3, 1, 1), *(nn.Conv1d(1, 1, 3, 2, 1) for _ in range(2)))
    found = rfsearch.analyze(net, 4)
    assert [row.name for row in found.layers if row.unproductive_w] == ["2"]  # 5 samples of 4
    assert "From 2 on, no layer sees anything new" in found.findings[0].sentence


def test_volumes_are_images_of_many_channels():
    net, size = volumes(), (4, 17, 20)
    found = rfsearch.analyze(net, size, verify=True)
    assert (found.analysis.image_size, found.disagreements) == ((17, 20), ())
    last = found.analysis.of("4")
    rows = window(5, 2, 2).then(window(3, 2)).then(window(3))
    columns = window(3).then(window(2, 2)).then(window(3, dilation=2))
    assert (last.field_h, last.jump_h, last.start_h) == (rows.size, rows.jump, rows.start)
    assert (last.field_w, last.jump_w, last.start_w) == (columns.size, columns.jump, columns.start)
    assert (last.in_channels, last.kernel_h, last.kernel_w) == (4, 3, 3)
    torch.manual_seed(0)
    volume = torch.zeros(1, 2, *size)
    volume[..., 3, :] = torch.nan
    hit = net.eval()[:5](volume).isnan().any(2)[0, 0].any(1)
    sees = [rows.start + rows.jump * u <= 3 < rows.start + rows.jump * u + rows.size
            for u in range(len(hit))]  # fmt: skip
    assert hit.tolist() == sees


def test_effective_fields_of_signals():
    found = rfsearch.analyze(signals(), 32, effective=True)
    sizes = [row.effective_90_w for row in found.layers if row.effective_90_w]
    fields = [row.field_w for row in found.layers if row.effective_90_w]
    assert sizes
    assert all(size <= field for size, field in zip(sizes, fields, strict=True))
    assert {row.effective_90_h for row in found.layers if row.effective_90_w} == {1}


class Mixer(nn.Module):
    """Images, although the first convolution is one over tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens = nn.Conv1d(16, 16, 1)
        self.patches = nn.Conv2d(3, 4, 2, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.tokens(self.patches(x).flatten(2).mT)


class Slices(nn.Module):
    """Images, whose channels are the depth of a volume."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv3d(1, 2, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x[:, None]).flatten(1, 2)


@pytest.mark.parametrize(
    ("net", "given", "sides", "image"),
    [(Mixer(), (8,), (8, 8), (8, 8)), (nn.Conv2d(3, 3, 3), (8, 9), (8, 9), (8, 9)),
     (nn.Linear(5, 5), (5,), (5, 5), (5, 5)), (signals(), (64,), (64,), (1, 64)),
     (volumes(), (4, 17, 20), (4, 17, 20), (17, 20)), (Slices(), (6,), (6, 6), (6, 6))],
)  # fmt: skip
def test_what_a_network_takes(net, given, sides, image):
    assert settle(net, given) == sides
    assert as_image(sides) == image


@pytest.mark.parametrize(("net", "given", "told"), [
    (signals(), (8, 64), "takes no images of 8×64 pixels; for signals the size is one number"),
    (volumes(), (64,), "takes no images of 64×64 pixels; for volumes the size is depth x height"),
    (nn.Conv3d(1, 1, 3), (8,), "for volumes"),
])  # fmt: skip
def test_what_it_does_not_take(net, given, told):
    with pytest.raises(UserError, match=told):
        settle(net, given)
    assert net.training


def test_data_sets_have_images():
    with pytest.raises(UserError, match="digits has images, and Sequential takes signals"):
        rfsearch.analyze(signals(), 64, effective=True, data="digits")


def test_a_network_of_images_is_left_alone():
    net = nn.Conv2d(3, 3, 3)
    with taking_images(net, (8, 8)):
        assert not net._forward_pre_hooks
