"""Networks the analysis is tried on: drawn at random, small, and of every sort of operator."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from hypothesis import strategies as st
from torch import Tensor, nn

CHANNELS = 4


class Call(nn.Module):
    """A function as a layer, so that stacks can hold what has no module."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


class Branches(nn.Module):
    """Stacks side by side, cropped to one size and joined."""

    def __init__(self, join: str, stacks: list[list[nn.Module]]) -> None:
        super().__init__()
        self.join = join
        self.stacks = nn.ModuleList(nn.Sequential(*stack) for stack in stacks)
        self.after = nn.Conv2d(CHANNELS * len(stacks), CHANNELS, 1, groups=CHANNELS)

    def forward(self, x: Tensor) -> Tensor:
        maps = [stack(x) for stack in self.stacks]
        height, width = (min(m.shape[dim] for m in maps) for dim in (2, 3))
        maps = [m[:, :, :height, :width] for m in maps]
        return sum(maps[1:], maps[0]) if self.join == "add" else self.after(torch.cat(maps, 1))


class SqueezeExcite(nn.Module):
    """A gate for every channel, from the mean over the map."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(CHANNELS, CHANNELS)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.linear(x.mean((2, 3))).sigmoid()[:, :, None, None]


class Lines(nn.Module):
    """Coordinate attention: gates from the means over rows and over columns."""

    def __init__(self) -> None:
        super().__init__()
        self.both = nn.Conv2d(CHANNELS, CHANNELS, 1)

    def forward(self, x: Tensor) -> Tensor:
        rows, columns = x.mean(3, keepdim=True), x.mean(2, keepdim=True).permute(0, 1, 3, 2)
        both = F.hardswish(self.both(torch.cat([rows, columns], 2)))
        rows, columns = both.split([x.shape[2], x.shape[3]], 2)
        return x * rows.sigmoid() * columns.transpose(2, 3).sigmoid()


class Shuffle(nn.Module):
    """Half of the channels go on, changed; the order of channels is dealt out again."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(CHANNELS // 2, CHANNELS // 2, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        kept, changed = x.chunk(2, 1)
        x = torch.cat([kept, self.conv(changed)], 1)
        x = x.view(1, 2, CHANNELS // 2, *x.shape[2:]).transpose(1, 2).contiguous()
        return x.view(1, CHANNELS, *x.shape[3:])


class Depthwise(nn.Module):
    """A functional depthwise convolution with a kernel of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.kernel = nn.Parameter(torch.randn(CHANNELS, 1, 3, 5))

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.kernel, stride=(1, 2), padding=(1, 2), groups=CHANNELS)


@st.composite
def convolutions(draw: st.DrawFn) -> nn.Module:
    pair = st.tuples(*[st.integers(1, 4)] * 2)
    kernel, dilation = draw(pair), draw(st.tuples(*[st.integers(1, 3)] * 2))
    padding = tuple(draw(st.integers(0, d * (k - 1)))
                    for k, d in zip(kernel, dilation, strict=True))  # fmt: skip
    stride, groups = draw(st.tuples(*[st.integers(1, 3)] * 2)), draw(st.sampled_from([1, 2, 4]))
    return nn.Conv2d(CHANNELS, CHANNELS, kernel, stride, padding, dilation, groups)


@st.composite
def pools(draw: st.DrawFn) -> nn.Module:
    kernel = draw(st.integers(1, 5))
    stride, ceil = draw(st.integers(1, 3)), draw(st.booleans())
    padding = draw(st.integers(0, kernel // 2))
    if draw(st.booleans()):
        return nn.AvgPool2d(kernel, stride, padding, ceil, draw(st.booleans()))
    dilation = draw(st.integers(1, 2)) if padding == 0 else 1
    return nn.MaxPool2d(kernel, stride, padding, dilation, ceil_mode=ceil)


def others() -> st.SearchStrategy[nn.Module]:
    return st.one_of(
        st.builds(SqueezeExcite), st.builds(Lines), st.builds(Shuffle), st.builds(Depthwise),
        st.builds(lambda: nn.GroupNorm(2, CHANNELS)),
        st.builds(lambda: nn.BatchNorm2d(CHANNELS)),
        st.builds(lambda m, s: nn.Upsample(scale_factor=s, mode=m),
                  st.sampled_from(["nearest", "bilinear", "bicubic"]), st.sampled_from([2, 1.5])),
        st.builds(nn.AdaptiveAvgPool2d, st.tuples(st.integers(1, 6), st.integers(1, 6))),
        st.sampled_from([nn.ReLU(), nn.ReLU6(), nn.Hardswish(), nn.Sigmoid(), nn.Dropout(),
                         Call(lambda x: x.clone()[:, :, ::2])]),
    )  # fmt: skip


def with_holes() -> st.SearchStrategy[nn.Module]:
    """Some of their outputs may see nothing: padding on padding, phases without a tap."""
    return st.one_of(
        st.builds(lambda k, s, p, d: nn.ConvTranspose2d(4, 4, k, s, p, groups=2, dilation=d),
                  st.integers(2, 4), st.integers(1, 3), st.integers(0, 1), st.integers(1, 2)),
        st.builds(lambda sides: Call(lambda x: F.pad(x, sides)),
                  st.tuples(*[st.integers(0, 2)] * 4)),
    )  # fmt: skip


def layers() -> st.SearchStrategy[nn.Module]:
    return st.one_of(convolutions(), pools(), others(), with_holes())


@st.composite
def stacks(draw: st.DrawFn) -> nn.Module:
    """Up to three layers of every sort."""
    body = draw(st.lists(layers(), min_size=1, max_size=3))
    return nn.Sequential(nn.Conv2d(3, CHANNELS, 1), *body)


@st.composite
def branched(draw: st.DrawFn) -> nn.Module:
    """Layers around two branches."""
    before, after = draw(st.lists(layers(), max_size=1)), draw(layers())
    parts = draw(st.lists(st.lists(layers(), max_size=2), min_size=2, max_size=2))
    join = Branches(draw(st.sampled_from(["add", "cat"])), parts)
    return nn.Sequential(nn.Conv2d(3, CHANNELS, 1), *before, join, after)


class Many(nn.Module):
    """Networks side by side on one image: capturing one graph is quicker than many."""

    def __init__(self, parts: list[nn.Module]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)

    def forward(self, x: Tensor) -> list[Tensor]:
        return [part(x) for part in self.parts]


def fitting(parts: list[nn.Module], size: tuple[int, int]) -> Many:
    """Those for whose windows the image is large enough."""
    image, kept = torch.zeros(1, 3, *size), []
    for part in parts:
        try:
            part.eval()(image)
        except (RuntimeError, ValueError):
            continue
        kept.append(part)
    return Many(kept)


class Constant(nn.Module):
    """A gate with the network cut out of it."""

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.linspace(0.5, 1, CHANNELS)[:, None, None].to(x)
