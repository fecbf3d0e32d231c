"""Effective fields against fields known by hand and a brute-force gradient."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torchvision.models import mobilenet_v2

from rfsearch.analysis.effective import effective_maps, effective_sizes
from rfsearch.analysis.reader import read
from rfsearch.analysis.squares import bars, square
from rfsearch.analysis.units import centres
from rfsearch.errors import UserError


def images(num: int = 4, size: int = 17, channels: int = 3) -> torch.Tensor:
    shape = (num, channels, size, size)
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def constant(kernel: int | tuple[int, int]) -> nn.Conv2d:
    conv = nn.Conv2d(3, 4, kernel, padding="same").double()
    nn.init.constant_(conv.weight, 0.5)
    return conv


def test_a_constant_kernel_is_a_square_of_its_size():
    net = nn.Sequential(constant(5))
    sizes = effective_sizes(net, images(), ["0"], shares=(0.03, 0.3, 0.5, 0.9, 1.0))
    # of 25 equal pixels, 1, 9 and 25 lie within squares of side 1, 3 and 5
    assert sizes["0"] == {0.03: (1, 1), 0.3: (3, 3), 0.5: (5, 5), 0.9: (5, 5), 1.0: (5, 5)}
    expected = np.zeros((17, 17))
    expected[6:11, 6:11] = 0.5 * 4 * 3  # summed over output and input channels
    assert np.array_equal(effective_maps(net, images(), ["0"])["0"], expected)


def test_axes_apart():
    net = nn.Sequential(constant((7, 3)))
    assert effective_sizes(net, images(), ["0"], (0.9,), "axes") == {"0": {0.9: (7, 3)}}
    assert effective_sizes(net, images(), ["0"], (0.9,)) == {"0": {0.9: (7, 7)}}


def test_negative_gradient_does_not_count():
    conv = constant(3)
    with torch.no_grad():
        conv.weight[:, :, 0] = -100
    assert effective_maps(nn.Sequential(conv), images(), ["0"])["0"][:8].sum() == 0
    nn.init.constant_(conv.weight, -1)
    assert effective_sizes(nn.Sequential(conv), images(), ["0"]) == {
        "0": {0.5: (0, 0), 0.9: (0, 0)}
    }


def test_equals_a_difference_quotient():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.Tanh(), nn.Conv2d(4, 5, 3, padding=1))
    net.double()
    batch, step = images(2, 9), 1e-6
    mass = np.zeros((9, 9))
    for place in np.ndindex(2, 3, 9, 9):
        change = torch.zeros_like(batch)
        change[place] = step
        up, down = (net(batch + sign * change)[:, :, 2, 2].sum() for sign in (1, -1))
        mass[place[2:]] += max(0, (up - down).item() / (2 * step)) / 2
    found = effective_maps(net, batch, ["2"])["2"]
    assert np.allclose(found, mass, atol=1e-7)


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9, 0.99])
def test_sizes_equal_brute_force(share):
    mass = np.random.default_rng(0).random((12, 15)) ** 3
    middles = [int(np.argmax(np.cumsum(mass.sum(k)) >= mass.sum() / 2)) for k in (1, 0)]

    def part(ry: int, rx: int) -> np.ndarray:
        (y, x) = middles
        return mass[max(0, y - ry) : y + ry + 1, max(0, x - rx) : x + rx + 1]

    def smallest(*shapes: tuple[int, int]) -> np.ndarray:
        return next(part(*s) for s in shapes if part(*s).sum() >= share * mass.sum())

    assert square(mass, share) == smallest(*((r, r) for r in range(15))).shape
    assert bars(mass, share) == (
        smallest(*((r, 99) for r in range(15))).shape[0],
        smallest(*((99, r) for r in range(15))).shape[1],
    )


def test_in_place_activations_and_training_mode_change_nothing():
    torch.manual_seed(0)
    net = mobilenet_v2(width_mult=0.25, num_classes=10).train()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    names = [f"features.{i}.conv.1.0" for i in (2, 9, 17)]
    batch = images(2, 32).float()
    first, again = (effective_maps(net, batch, names) for _ in range(2))
    assert all(np.array_equal(first[name], again[name]) for name in names)
    assert net.training
    assert all(torch.equal(before[name], tensor) for name, tensor in net.state_dict().items())
    assert all(p.grad is None for p in net.parameters())
    bare = mobilenet_v2(width_mult=0.25, num_classes=10)
    bare.load_state_dict(before)
    for part in bare.modules():
        if isinstance(part, nn.ReLU6):
            part.inplace = False
    assert np.array_equal(effective_maps(bare, batch, names)[names[0]], first[names[0]])


class Windows(nn.Module):
    """Between two convolutions, windows: there the first dimension is images and windows."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 2, 3, padding=1)
        self.inside = nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.first(x)
        n, c, h, w = y.shape
        y = y.view(n, c, 2, h // 2, w).permute(0, 2, 3, 4, 1).reshape(2 * n, h // 2 * w, c)
        y = self.inside(y).view(n, 2, h // 2, w, c).permute(0, 4, 1, 2, 3).reshape(n, c, h, w)
        return self.last(y.tanh())


def test_maps_behind_windows_have_a_centre_again():
    """Their batch, of length 1, does not run over the image."""
    net = Windows().double()
    reading, program = read(net, (8, 8))
    assert {"conv2d", "tanh", "conv2d_1"} <= centres(program, reading.analysis.nodes).keys()


def test_a_module_that_computes_nothing_has_the_field_of_what_enters_it():
    class Skip(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.none, self.last = constant(3), nn.Identity(), constant(5)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.last(x)
            return y + self.none(self.first(x))

    net = Skip()
    found = effective_maps(net, images(), ["none", "first", "last"])
    assert np.array_equal(found["none"], found["first"])
    assert square(found["none"], 1.0) == (3, 3)
    assert not net.none._forward_hooks


def test_what_cannot_be_answered_says_so():
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten()).double()
    with pytest.raises(UserError, match="unknown layer '2'"):
        effective_sizes(net, images(), ["2"])
    with pytest.raises(UserError, match="output of 1 is no map"):
        effective_sizes(net, images(), ["1"])
