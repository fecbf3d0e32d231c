"""Depthwise convolutions that stay fast on the smallest maps."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

SMALLEST = 3
"""Pixels a side; for maps below, oneDNN's weight gradient falls back on a path about ten times as
slow (torch 2.15, AVX2)."""


class DepthwiseConv2d(nn.Conv2d):
    """A depthwise 3×3 convolution, stride 1, padding 1, no bias: nn.Conv2d with a faster backward.

    The outputs are nn.Conv2d's, bit for bit; on a CPU the weight gradient of a map under 3 pixels
    is taken on the map extended by zeros, which adds nothing to the sum.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C, H, W)."""
        small = min(x.shape[-2:]) < SMALLEST
        if small and self.training and torch.is_grad_enabled() and x.device.type == "cpu":
            return _Small.apply(x, self.weight)
        return super().forward(x)


class _Small(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return F.conv2d(x, weight, padding=1, groups=len(weight))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        for_x, for_weight = ctx.needs_input_grad
        to_x, to_weight = None, None
        if for_x:
            to_x, _, _ = _backward(gradient, x, weight, [True, False, False])
        if for_weight:
            _, to_weight, _ = _backward(
                _extended(gradient), _extended(x), weight, [False, True, False]
            )
        return to_x, to_weight


def _backward(gradient: Tensor, x: Tensor, weight: Tensor, wanted: list[bool]) -> Any:
    return torch.ops.aten.convolution_backward(
        gradient, x, weight, None, [1, 1], [1, 1], [1, 1], False, [0, 0], len(weight), wanted
    )


def _extended(x: Tensor) -> Tensor:
    """Zeros to the right and below, up to the smallest size that is fast."""
    height, width = x.shape[-2:]
    return F.pad(x, (0, max(0, SMALLEST - width), 0, max(0, SMALLEST - height)))


def quicken(network: nn.Module) -> None:
    """Put `DepthwiseConv2d` in place of every convolution that is one; weights and names stay."""
    for name, conv in list(network.named_modules()):
        if isinstance(conv, nn.Conv2d) and _is_one(conv):
            path, _, leaf = name.rpartition(".")
            network.get_submodule(path).register_module(leaf, _like(conv))


def _is_one(conv: nn.Conv2d) -> bool:
    return (
        conv.groups == conv.in_channels == conv.out_channels
        and (conv.kernel_size, conv.stride, conv.dilation) == ((3, 3), (1, 1), (1, 1))
        and (conv.padding, conv.padding_mode, conv.bias) == ((1, 1), "zeros", None)
    )


def _like(conv: nn.Conv2d) -> DepthwiseConv2d:
    """The same convolution with the same weight; nothing is drawn from a generator."""
    channels = conv.in_channels
    new = DepthwiseConv2d(
        channels, channels, 3, padding=1, groups=channels, bias=False, device="meta"
    )
    new.weight = conv.weight
    return new.train(conv.training)
