"""Rolling-Pointwise convolution: grouped 1×1 convolution whose windows of channels overlap.

Source: 3DRF (arXiv 2009.05236) names the operator; its formulas are not public, so the settings
below are a reconstruction. Ours: two ways to hand out filters, and the form in which it is run.

Notation
    C, C'   channels in and out
    g, o    groups; overlap in [0, 1)
    w       C / g, channels that a filter reads
    s       w − ⌊o·w⌋ ≥ 1, channels from one window to the next
    N       C / gcd(C, s), windows that differ; window i begins at i·s mod C and wraps around
"""

from __future__ import annotations

from dataclasses import dataclass
from math import gcd
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from rfsearch.errors import UserError, unknown

FILTERS = ("block", "cyclic")
"""block: consecutive filters share a window; cyclic: filter f reads window f mod N."""
FEW, MANY = 2, 3
"""Filters of a window and groups from which on a strided view is faster on a CPU than a dense
weight (benchmarks/rolling_speed.py)."""


@dataclass(frozen=True)
class Windows:
    """Which channels the filters of a Rolling-Pointwise convolution read.

    >>> windows = Windows(64, 64, groups=4, overlap=0.5)
    >>> windows.width, windows.step, windows.num
    (16, 8, 8)
    >>> windows.of_filter(8), windows.channels(7)[-8:]
    (1, (0, 1, 2, 3, 4, 5, 6, 7))
    """

    in_channels: int
    out_channels: int
    groups: int
    overlap: float = 0.5
    filters: str = "block"

    def __post_init__(self) -> None:
        for name in ("in_channels", "out_channels", "groups"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise UserError(f"{name} of a rolling convolution is a whole number from 1 on, "
                                f"not {value!r}")  # fmt: skip
        if self.in_channels % self.groups:
            near = [g for g in range(1, self.in_channels + 1) if self.in_channels % g == 0]
            raise UserError(
                f"{self.groups} groups do not divide {self.in_channels} channels; what divides "
                f"them: {', '.join(map(str, near))}"
            )
        number = isinstance(self.overlap, int | float) and not isinstance(self.overlap, bool)
        if not number or not 0 <= self.overlap < 1:
            raise UserError(f"the overlap of windows is from 0 to below 1, not {self.overlap!r}")
        if self.filters not in FILTERS:
            raise unknown("filter assignment", str(self.filters), FILTERS)
        if self.filters == "block" and self.out_channels % self.num:
            raise UserError(
                f"{self.num} windows do not divide {self.out_channels} filters into blocks; "
                f"take a multiple of {self.num}, another overlap, or filters='cyclic'"
            )

    @property
    def width(self) -> int:
        """w, channels that a filter reads."""
        return self.in_channels // self.groups

    @property
    def step(self) -> int:
        """s, channels from one window to the next."""
        return self.width - int(self.overlap * self.width)

    @property
    def num(self) -> int:
        """N, windows that differ."""
        return self.in_channels // gcd(self.in_channels, self.step)

    def of_filter(self, number: int) -> int:
        """The window that a filter reads."""
        if self.filters == "cyclic":
            return number % self.num
        return number // (self.out_channels // self.num)

    def channels(self, window: int) -> tuple[int, ...]:
        """The channels in a window, in the order of a filter's weights."""
        start = window * self.step
        return tuple((start + i) % self.in_channels for i in range(self.width))


class RollingPointwise(nn.Module):
    """1×1 convolution, filter f on the channels of its window alone; (C/g)·C' weights.

    It is run in one of three ways, which are the same sums. *strided*: windows that overlap are
    read through one strided view of the channels, all filters are one batched product; nothing is
    gathered. *dense*: the weights are put into a dense 1×1 weight between zeros, which costs more
    multiply-adds and less time where windows hold few filters or do not tile. *grouped*: what
    ``torch.export`` is given, a grouped convolution on gathered channels, whose graph says what
    each filter reads and what it need cost.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        groups: int,
        overlap: float = 0.5,
        filters: str = "block",
    ) -> None:
        super().__init__()
        self.windows = Windows(in_channels, out_channels, groups, overlap, filters)
        self.weight = nn.Parameter(torch.empty(out_channels, self.windows.width, 1, 1))
        nn.init.kaiming_uniform_(self.weight, a=5**0.5)  # nn.Conv2d's
        slots, self.per_window = _slots(self.windows)
        self.strided = _suits_a_view(self.windows)
        self.register_buffer("slots", slots, persistent=False)
        self.register_buffer("reads", _reads(self.windows), persistent=False)

    slots: Tensor
    reads: Tensor

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C', H, W)."""
        if torch.compiler.is_exporting():
            return self.as_grouped(x)
        if self.strided and x.device.type == "cpu":
            return self.as_strided(x)
        return self.as_dense(x)

    def as_dense(self, x: Tensor) -> Tensor:
        """With a dense weight, zeros outside the windows."""
        empty = self.weight.new_zeros(len(self.weight), self.windows.in_channels)
        weight = empty.scatter(1, self.reads, self.weight.flatten(1))
        return F.conv2d(x, weight[:, :, None, None])

    def as_strided(self, x: Tensor) -> Tensor:
        """With one view for all windows, where they begin one after the other."""
        windows, (batch, channels, height, width) = self.windows, x.shape
        maps = x.transpose(0, 1).reshape(channels, -1)
        num, each = windows.num, self.per_window
        cyclic = windows.filters == "cyclic"
        weight = self.weight.flatten(1)
        weights = weight.view(each, num, -1).transpose(0, 1) if cyclic else weight.view(
            num, each, -1)  # fmt: skip
        y = _Strided.apply(maps, weights, windows.step).view(num, each, batch, height, width)
        order = (2, 1, 0, 3, 4) if cyclic else (2, 0, 1, 3, 4)
        return y.permute(order).reshape(batch, -1, height, width)

    def as_grouped(self, x: Tensor) -> Tensor:
        """With torch's own operators: every window a group of gathered channels."""
        missing = len(self.slots) - len(self.weight)
        weights = F.pad(self.weight, (0, 0, 0, 0, 0, 0, 0, missing))[self.slots]
        first = self.slots.view(-1, self.per_window)
        gathered = _gathered(self.windows).to(x.device)
        y = F.conv2d(x.index_select(1, gathered), weights, groups=len(first))
        return y.index_select(1, torch.argsort(self.slots)[: len(self.weight)])

    def extra_repr(self) -> str:
        """The settings."""
        w = self.windows
        return (f"{w.in_channels}, {w.out_channels}, groups={w.groups}, overlap={w.overlap}, "
                f"filters={w.filters!r}")  # fmt: skip


class _Strided(torch.autograd.Function):
    """All windows times all filters; torch's own gradient of a view that overlaps is slow."""

    @staticmethod
    def forward(ctx: Any, maps: Tensor, weights: Tensor, step: int) -> Tensor:
        """(C, pixels), (N, C'/N, w) to (N, C'/N, pixels)."""
        ctx.save_for_backward(maps, weights)
        ctx.step = step
        return torch.bmm(weights, _views(maps, weights.shape[2], step))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        """A channel's gradient is the sum over the windows it stands in: over blocks of ``step``
        channels, each turned to where it came from."""
        maps, weights = ctx.saved_tensors
        (num, _, width), step = weights.shape, ctx.step
        to_weights = torch.bmm(gradient, _views(maps, width, step).transpose(1, 2))
        to_views = torch.bmm(weights.transpose(1, 2), gradient)
        blocks = to_views.view(num, width // step, step, -1)
        total = blocks[:, 0].clone()
        for k in range(1, width // step):
            total[k:] += blocks[:-k, k]
            total[:k] += blocks[-k:, k]
        return total.view(maps.shape), to_weights, None


def _views(maps: Tensor, width: int, step: int) -> Tensor:
    """The windows (N, w, pixels) of maps (C, pixels), which they share."""
    wrapped = torch.cat([maps, maps[: width - step]])
    return wrapped.unfold(0, width, step).transpose(1, 2)


def _suits_a_view(windows: Windows) -> bool:
    """Whether windows begin one after the other, tile, hold filters alike, and are many enough to
    be faster so than with a dense weight."""
    tiles = windows.width % windows.step == 0
    filters, rest = divmod(windows.out_channels, windows.num)
    return tiles and rest == 0 and filters >= FEW and windows.groups >= MANY


def _slots(windows: Windows) -> tuple[Tensor, int]:
    """Filters by the first channel of their window, and how many a window has at most; empty
    places hold numbers of filters that do not exist."""
    by_start: dict[int, list[int]] = {i * _stride(windows): [] for i in range(windows.num)}
    for number in range(windows.out_channels):
        start = windows.of_filter(number) * windows.step % windows.in_channels
        by_start[start].append(number)
    most = max(map(len, by_start.values()))
    missing = iter(range(windows.out_channels, windows.num * most))
    order = [n for found in by_start.values()
             for n in [*found, *(next(missing) for _ in range(most - len(found)))]]  # fmt: skip
    return torch.tensor(order), most


def _stride(windows: Windows) -> int:
    """Channels between windows, once they are put in order."""
    return gcd(windows.in_channels, windows.step)


def _reads(windows: Windows) -> Tensor:
    """(filters, w) of channels."""
    return torch.tensor([windows.channels(windows.of_filter(f))
                         for f in range(windows.out_channels)])  # fmt: skip


def _gathered(windows: Windows) -> Tensor:
    """The channels of all windows, by where they begin."""
    starts = torch.arange(windows.num)[:, None] * _stride(windows)
    return ((starts + torch.arange(windows.width)) % windows.in_channels).flatten()


class DepthwiseRolling(nn.Sequential):
    """Depthwise k×k convolution, its norm, and a Rolling-Pointwise convolution.

    In place of a dense k×k convolution: k²·C + (C/g)·C' weights, and 2·C of the norm. There is no
    activation between the two (ours), so that it stays one layer.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int = 3,
        stride: int = 1,
        groups: int = 2,
        overlap: float = 0.5,
        filters: str = "block",
    ) -> None:
        pointwise = RollingPointwise(in_channels, out_channels, groups, overlap, filters)
        if not isinstance(kernel, int) or isinstance(kernel, bool) or kernel < 1 or not kernel % 2:
            raise UserError(f"a depthwise kernel is an odd number from 1 on, not {kernel!r}")
        depthwise = nn.Conv2d(in_channels, in_channels, kernel, stride, kernel // 2,
                              groups=in_channels, bias=False)  # fmt: skip
        super().__init__(depthwise, nn.BatchNorm2d(in_channels), pointwise)


def dw_rpw(
    channels: int, kernel: int, groups: int = 2, overlap: float = 0.5, filters: str = "block"
) -> DepthwiseRolling:
    """Depthwise and Rolling-Pointwise convolution, (N, C, H, W) to the same shape."""
    return DepthwiseRolling(channels, channels, kernel, 1, groups, overlap, filters)
