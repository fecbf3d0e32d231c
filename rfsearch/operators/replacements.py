"""Operators in the place of a spatial convolution: its stride, its channels and the size of its
map are kept, and so are the norm and the activation that follow it.

To add one: a function ``name(conv, **arguments) -> nn.Module`` of the convolution it replaces, and
one line in `REPLACEMENTS`. An operator that is what stands there already gives back the
convolution itself, so that its weights are kept; one of its kind begins with its weights.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from rfsearch.errors import UserError
from rfsearch.operators.building import build_from
from rfsearch.operators.pooling import LARGEST


def conv(old: nn.Conv2d) -> nn.Module:
    """The convolution itself: the plain layer."""
    return old


def dense(old: nn.Conv2d, kernel: int = 3) -> nn.Module:
    """A convolution that mixes all channels."""
    return _convolution(old, kernel, 1, groups=1)


def depthwise(old: nn.Conv2d, kernel: int = 3) -> nn.Module:
    """A convolution of every channel alone."""
    return _convolution(old, kernel, 1, groups=_alike(old, "depthwise"))


def resized(old: nn.Conv2d, kernel: int) -> nn.Module:
    """The convolution with another kernel: the weights it has in the middle, zeros around them or
    their rim left out, so that a larger one begins as the convolution it replaces (ours)."""
    new = _convolution(old, kernel, old.dilation[0], groups=old.groups)
    if new is not old:
        with torch.no_grad():
            new.weight.copy_(_centred(old.weight, kernel))
            if old.bias is not None and new.bias is not None:
                new.bias.copy_(old.bias)
    return new


def dilated(old: nn.Conv2d, dilation: int) -> nn.Module:
    """The convolution with the same weight, spread out; of several in one slot all share it."""
    size = _square(old)
    if dilation == old.dilation[0]:
        return old
    new = nn.Conv2d(
        old.in_channels, old.out_channels, size, old.stride,  # type: ignore[arg-type]
        _padding(old, size, _counted(dilation, "dilation")), dilation, old.groups,
        bias=old.bias is not None, device="meta",
    )  # fmt: skip
    new.weight, new.bias = old.weight, old.bias
    return new


def pf_max(old: nn.Conv2d, kernel: int = 3) -> nn.Module:
    """PfLayer's max-pooling (arXiv 2202.02777): no parameters."""
    _alike(old, "pf_max")
    return nn.MaxPool2d(kernel, old.stride, _padding(old, kernel, 1))


def pf_avg(old: nn.Conv2d, kernel: int = 3) -> nn.Module:
    """Average-pooling; a border mean counts real pixels only (ours)."""
    _alike(old, "pf_avg")
    padding = _padding(old, kernel, 1)
    return nn.AvgPool2d(kernel, old.stride, padding, count_include_pad=False)  # type: ignore[arg-type]


REPLACEMENTS: dict[str, Callable[..., nn.Module]] = {
    "conv": conv,
    "dense": dense,
    "depthwise": depthwise,
    "resized": resized,
    "dilated": dilated,
    "pf_max": pf_max,
    "pf_avg": pf_avg,
}


def build_replacement(name: str, old: nn.Conv2d, arguments: dict[str, Any]) -> nn.Module:
    """The operator called ``name`` in the place of a convolution.

    Raises:
        UserError: no such operator or argument, or one that cannot stand there.
    """
    return build_from(REPLACEMENTS, "operator in place of a convolution", name, old, arguments)


class Sum(nn.Module):
    """Operators side by side, added: what a pair leaves."""

    def __init__(self, operators: Sequence[nn.Module]) -> None:
        super().__init__()
        self.operators = nn.ModuleList(operators)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C', H', W')."""
        first, *others = (operator(x) for operator in self.operators)
        return sum(others, first)


def merge(branches: Sequence[nn.Conv2d]) -> nn.Conv2d:
    """Convolutions side by side as one with equal outputs: their kernels, spread out by their
    dilations, added around a common centre.

    Raises:
        ValueError: they do not move alike, so that no one convolution is their sum.
    """
    first = branches[0]
    reach = [(_square(one) - 1) * one.dilation[0] for one in branches]
    moves = {
        (one.in_channels, one.out_channels, one.groups, one.stride, one.padding_mode,
         2 * int(one.padding[0]) - far)
        for one, far in zip(branches, reach, strict=True)
    }  # fmt: skip
    if len(moves) > 1:
        raise ValueError(f"these convolutions do not move alike: {moves}")
    size = max(reach) + 1
    padding = int(first.padding[0]) + (max(reach) - reach[0]) // 2
    merged = nn.Conv2d(
        first.in_channels, first.out_channels, size, first.stride, padding,  # type: ignore[arg-type]
        groups=first.groups, bias=any(one.bias is not None for one in branches),
    ).to(first.weight)  # fmt: skip
    with torch.no_grad():
        merged.weight.zero_()
        for one, far in zip(branches, reach, strict=True):
            begin = (size - 1 - far) // 2
            taps = slice(begin, begin + far + 1, one.dilation[0])
            merged.weight[..., taps, taps] += one.weight
        if merged.bias is not None:
            merged.bias.copy_(sum(one.bias for one in branches if one.bias is not None))  # type: ignore[arg-type]
    return merged


def _convolution(old: nn.Conv2d, kernel: int, dilation: int, groups: int) -> nn.Conv2d:
    """A new convolution where the old one is not the same."""
    padding = _padding(old, kernel, dilation)
    same = (old.kernel_size, old.groups, old.dilation) == ((kernel,) * 2, groups, (dilation,) * 2)
    if same:
        return old
    new = nn.Conv2d(
        old.in_channels, old.out_channels, kernel, old.stride, padding, dilation, groups,  # type: ignore[arg-type]
        bias=old.bias is not None,
    )  # fmt: skip
    nn.init.kaiming_normal_(new.weight, mode="fan_out")
    return new.to(old.weight)


def _padding(old: nn.Conv2d, kernel: int, dilation: int) -> int:
    """That gives a map of the same size, for every image."""
    size, kernel = _square(old), _counted(kernel, "kernel")
    if isinstance(old.padding, str) or old.padding[0] != old.padding[1]:
        raise UserError(f"its convolution pads by {old.padding!r}, and not alike on all sides")
    if old.padding_mode != "zeros":
        raise UserError(f"its convolution pads with {old.padding_mode}, and not with zeros")
    more = (kernel - 1) * dilation - (size - 1) * old.dilation[0]
    padding = int(old.padding[0]) + more // 2
    if more % 2 or padding < 0:
        raise UserError(
            f"a kernel of {kernel}, dilation {dilation}, does not keep the map of a kernel of "
            f"{size} padded by {old.padding[0]}"
        )
    return padding


def _square(old: nn.Conv2d) -> int:
    """Its kernel, of a convolution that is the same along both axes."""
    height, width = old.kernel_size
    if height != width or old.stride[0] != old.stride[1] or old.dilation[0] != old.dilation[1]:
        raise UserError(f"its convolution, {height}×{width}, is not the same along both axes")
    return height


def _counted(value: object, name: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise UserError(f"{name} must be a whole number from 1 on, not {value!r}")
    if value > LARGEST:
        raise UserError(f"{name} must be at most {LARGEST}, not {value}")
    return value


def _alike(old: nn.Conv2d, name: str) -> int:
    if old.in_channels != old.out_channels:
        raise UserError(
            f"{name} keeps the channels, and its convolution takes {old.in_channels} and gives "
            f"{old.out_channels}"
        )
    return old.in_channels


def _centred(weight: Tensor, kernel: int) -> Tensor:
    """Weights (O, I, k, k) with another kernel, the middle on the middle."""
    more = (kernel - weight.shape[-1]) // 2
    return nn.functional.pad(weight.detach(), (more,) * 4)
