"""Pooling operators: stride 1, same size, no parameters (PMPL code: padding k // 2)."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from rfsearch.errors import UserError

LARGEST = 511
"""The largest kernel, and dilation, of an operator: more sees nothing but padding."""


def _odd(kernel: int) -> int:
    if not isinstance(kernel, int) or isinstance(kernel, bool) or kernel < 3 or kernel % 2 == 0:
        raise UserError(f"a stride-1 pooling kernel is an odd number from 3 on, not {kernel!r}")
    if kernel > LARGEST:
        raise UserError(f"a pooling kernel is at most {LARGEST}, not {kernel}")
    return kernel


def max_pool(channels: int, kernel: int) -> nn.MaxPool2d:
    """Max-pooling of an odd kernel, (N, C, H, W) to the same shape."""
    del channels
    return nn.MaxPool2d(_odd(kernel), stride=1, padding=kernel // 2)


def avg_pool(channels: int, kernel: int) -> nn.AvgPool2d:
    """Average-pooling of an odd kernel; a border mean counts real pixels only (ours, PMPL 1.5)."""
    del channels
    return nn.AvgPool2d(_odd(kernel), stride=1, padding=kernel // 2, count_include_pad=False)


def identity(channels: int) -> nn.Identity:
    """The plain layer itself."""
    del channels
    return nn.Identity()


def max_pyramid(x: Tensor, kernels: Sequence[int]) -> list[Tensor]:
    """Max-pools of ``x`` for ascending odd kernels, each made from the one before it.

    The forward pass equals separate pools bit for bit (max 3 of max 3 is max 5); where values tie
    the gradient is another valid subgradient.

    >>> import torch
    >>> x = torch.randn(1, 1, 9, 9)
    >>> a, b = max_pyramid(x, [3, 7])
    >>> torch.equal(b, F.max_pool2d(x, 7, stride=1, padding=3))
    True
    """
    outputs, last, reached = [], x, 1
    for kernel in kernels:
        step = kernel - reached + 1
        last = F.max_pool2d(last, step, stride=1, padding=step // 2)
        reached = kernel
        outputs.append(last)
    return outputs
