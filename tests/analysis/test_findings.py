"""What the numbers mean: sentences on networks that are known, the range by brute force."""

from __future__ import annotations

import pytest
from torch import Tensor, nn
from torchvision.models import mobilenet_v2, resnet18

from rfsearch.analysis.capture import capture
from rfsearch.analysis.feasible import smallest_images
from rfsearch.analysis.findings import Finding, findings, unproductive
from rfsearch.analysis.layers import Analysis, Layer, Smallest, Totals, is_spatial
from rfsearch.analysis.reader import read
from rfsearch.analysis.stages import stages, trunk
from rfsearch.analysis.walk import walk


def stack(*kernels: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(*(nn.Conv2d(3, 3, k, stride, k // 2) for k in kernels))


def told(net: nn.Module, size: tuple[int, int]) -> dict[str, Finding]:
    return {one.name: one for one in read(net, size)[0].findings}


def test_the_sentence_of_mobilenetv2_at_96_pixels():
    found = told(mobilenet_v2(), (96, 96))
    tail = found["unproductive-tail"]
    assert tail.sentence == "From features.15 on, no layer sees anything new at 96 pixels."
    assert tail.layers == tuple(f"features.{i}.conv.1.0" for i in (15, 16, 17))
    assert "3 of 18" in found["unproductive"].sentence
    assert "from 100 to 491 pixels" in found["range"].sentence
    covers = found["field-no-gates-covers"]
    assert covers.layers == ("features.6.conv.1.0", "features.8.conv.1.0")  # 59 ≥ 48, 107 ≥ 96
    assert "491 at stride 32 (3×3 map)" in found["stages"].sentence


def test_nothing_unproductive():
    found = told(stack(3, 3), (16, 16))
    assert found["productive"].sentence == "Every kernel above 1 sees something new at 16 pixels."
    assert "none reaches" in found["field-no-gates-covers"].sentence
    assert "largest: 5 pixels" in found["field-no-gates-covers"].sentence


def test_one_axis_alone_keeps_a_layer_productive():
    net = nn.Sequential(nn.Conv2d(3, 3, (9, 3), padding=(4, 1)), nn.Conv2d(3, 3, 3, padding=1))
    last = walk(net, (8, 32)).layers[-1]
    assert (last.unproductive_h, last.unproductive_w) == (True, False)
    assert not unproductive(last)
    assert unproductive(walk(net, (8, 3)).layers[-1])


class Branchy(nn.Module):
    """Strides without padding, a skip and a dilated kernel: no simple formula."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 3, 5, 2)
        self.pool = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.one = nn.Conv2d(3, 3, 3, padding=1)
        self.two = nn.Conv2d(3, 3, (3, 5), padding=(4, 2), dilation=(4, 1))

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(self.stem(x))
        return self.two(x + self.one(x)).mean((2, 3))


@pytest.mark.parametrize("net", [Branchy(), stack(5, 7, 3), stack(3, 3, 3, stride=2), resnet18()],
                         ids=["branchy", "stack", "strided", "resnet18"])  # fmt: skip
def test_smallest_image_by_brute_force(net):
    """Every size is captured anew: the first from which on no layer is unproductive."""
    size = (97, 97)
    program = capture(net, size)
    smallest = smallest_images(net, program, walk(net, size, program=program))

    def idle(pixels: int, axis: str) -> bool:
        rows = walk(net, (pixels, 97) if axis == "h" else (97, pixels)).layers
        return any(getattr(row, f"unproductive_{axis}") for row in rows if is_spatial(row))

    for axis, found in zip("hw", smallest, strict=True):
        assert found.exact
        assert found.pixels is not None
        assert not idle(found.pixels, axis)
        assert found.pixels == 1 or idle(found.pixels - 1, axis)


def test_a_network_for_one_size_says_at_least():
    net = nn.Sequential(stack(3, 3), nn.Flatten(), nn.Linear(3 * 20 * 20, 2))
    program = capture(net, (20, 20))
    found = smallest_images(net, program, walk(net, (20, 20), program=program))
    assert found == (Smallest(4, False), Smallest(4, False))
    assert "at least 4" in told(net, (20, 20))["range"].sentence


def test_the_program_keeps_its_shapes():
    net = stack(3, 3, stride=2)
    program = capture(net, (40, 40))
    before = walk(net, (40, 40), program=program)
    smallest_images(net, program, before)
    assert walk(net, (40, 40), program=program) == before


class Gated(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Conv2d(3, 3, 3, 2, 1)
        self.reduce = nn.Conv2d(3, 3, 1)
        self.two = nn.Conv2d(3, 3, 3, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.one(x)
        pooled = nn.functional.adaptive_avg_pool2d(x, 1)
        return self.two(x * self.reduce(pooled).sigmoid()).mean((2, 3))


def test_gates_are_told_and_left_out_of_stages():
    found = told(Gated(), (64, 64))
    assert "Through a gate" in found["gates"].sentence
    assert found["gates"].layers[:1] != ("one",)
    assert "two" in found["gates"].layers
    at = [(one.jump_h, one.field_h, one.height) for one in stages(walk(Gated(), (64, 64)))]
    assert at == [(2, 3, 32), (4, 7, 16)]
    assert {row.name for row in trunk(walk(Gated(), (64, 64)).layers)} == {"one", "two", ""}


class Crooked(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.even = nn.Conv2d(3, 3, 2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.even(x)[:, :, 1:, 1:]


def test_joins_that_do_not_align():
    found = told(Crooked(), (16, 16))["misaligned"]
    assert found.sentence.startswith("1 layer joins maps whose fields do not lie on each other")
    assert "0.5 pixels" in found.sentence
    assert "misaligned" not in told(resnet18(), (64, 64))


class Mixer(nn.Module):
    """Patches mixed as tokens: every one sees the whole image, at the one size it takes."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 6, 4, 4)
        self.tokens = nn.Linear(16, 16)

    def forward(self, x: Tensor) -> Tensor:
        return self.tokens(self.patches(x).flatten(2)).mean(2)


def test_tokens_have_no_range():
    found = told(Mixer(), (16, 16))
    assert "range" not in found
    covers = found["field-no-gates-covers"]
    assert covers.layers == ("tokens", "tokens")
    assert "tokens is the first to reach 50 % of the image and the whole image." in covers.sentence


def test_padding():
    found = told(stack(15, 15), (8, 8))["padding"]
    assert "2 layers have at least 40 %" in found.sentence


def test_pure():
    """The same rows give the same sentences, and rows without fields give none."""
    analysis = walk(stack(3, 5), (16, 16))
    assert findings(analysis) == findings(analysis)
    bare = Analysis((16, 16), (Layer("a", 0, "conv"), Layer("b", 1, "linear")), Totals(0, 0, 0))
    assert findings(bare) == ()
