"""Operators that move a window over the image: convolution, pooling, resampling, means.

Source: the table of intervals in Araujo et al. 2019 and torch's documentation of each operator;
checked index by index against ``analysis.probe``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from math import prod

from rfsearch import field
from rfsearch.analysis import views
from rfsearch.analysis.call import Call, Window
from rfsearch.analysis.dependence import Value
from rfsearch.errors import UserError
from rfsearch.field import Taps


def each(setting: int | Sequence[int], num: int) -> list[int]:
    """One number per spatial dimension, where torch accepts a single one for all."""
    numbers = [setting] if isinstance(setting, int) else list(setting)
    return numbers * num if len(numbers) == 1 else numbers


def slide(value: Value, windows: Sequence[Window]) -> Value:
    """The value read through every window."""
    return reduce(lambda v, w: v.read(w.dim, w.taps), windows, value)


def mix_groups(value: Value, dim: int, groups: int, length: int) -> Value:
    """Channels joined within each of ``groups``; ``length`` channels come out."""
    if groups == 1:
        return value.mix(dim, length)
    before, after = value.shape[:dim], value.shape[dim + 1 :]
    apart = views.reshape(value, (*before, groups, value.shape[dim] // groups, *after))
    mixed = apart.mix(dim + 1)
    wide = views.expand(mixed, (*before, groups, length // groups, *after))
    return views.reshape(wide, (*before, length, *after))


def _low_padding(padding: str | int | Sequence[int], spans: Sequence[int]) -> list[int]:
    """Padding before the first element; torch's "same" puts the odd one after the last."""
    if isinstance(padding, str):
        return [span // 2 if padding == "same" else 0 for span in spans]
    return each(padding, len(spans))


def convolution_windows(call: Call) -> list[Window]:
    """One per spatial dimension of the weight (C_out, C_in/g, k, ...)."""
    kernels = call["weight"].shape[2:]
    num = len(kernels)
    strides, dilations = each(call["stride"], num), each(call["dilation"], num)
    spans = [d * (k - 1) for k, d in zip(kernels, dilations, strict=True)]
    paddings = _low_padding(call["padding"], spans)
    first = len(call.shape) - num
    found = []
    for i, (k, s, p, d) in enumerate(zip(kernels, strides, paddings, dilations, strict=True)):
        n, m = call.input.shape[first + i], call.shape[first + i]
        found.append(Window(first + i, k, s, field.window_taps(n, m, k, s, p, d)))
    return found


def convolution(call: Call) -> Value:
    """Channels joined by group, then a window along every spatial dimension."""
    windows = convolution_windows(call)
    channel = windows[0].dim - 1
    mixed = mix_groups(call.input, channel, call["groups"], call.shape[channel])
    return slide(mixed, windows)


def convolution_macs(call: Call) -> int:
    """Outputs times the inputs that each of them reads, padding counted."""
    weight: Value = call["weight"]
    return prod(call.shape) * prod(weight.shape[1:])


def transposed_windows(call: Call) -> list[Window]:
    """One per spatial dimension of the weight (C_in, C_out/g, k, ...)."""
    kernels = call["weight"].shape[2:]
    num = len(kernels)
    settings = [each(call[name], num) for name in ("stride", "padding", "dilation")]
    first = len(call.shape) - num
    found = []
    for i, (k, s, p, d) in enumerate(zip(kernels, *settings, strict=True)):
        n, m = call.input.shape[first + i], call.shape[first + i]
        found.append(Window(first + i, k, s, field.transposed_taps(n, m, k, s, p, d)))
    return found


def transposed(call: Call) -> Value:
    """As convolution, with the taps of the transpose."""
    windows = transposed_windows(call)
    channel = windows[0].dim - 1
    return slide(mix_groups(call.input, channel, call["groups"], call.shape[channel]), windows)


def transposed_macs(call: Call) -> int:
    """Inputs times the outputs that each of them adds to."""
    weight: Value = call["weight"]
    return prod(call.input.shape) * prod(weight.shape[1:])


def pool_windows(call: Call) -> list[Window]:
    """One per spatial dimension; ceil_mode shows in the output's length alone."""
    first = 2  # after batch and channels
    num = len(call.shape) - first
    kernels = each(call["kernel_size"], num)
    strides = each(call["stride"], num) if call["stride"] else kernels
    paddings = each(call["padding"], num)
    dilations = each(call.arguments.get("dilation", 1), num)
    found = []
    for i, (k, s, p, d) in enumerate(zip(kernels, strides, paddings, dilations, strict=True)):
        n, m = call.input.shape[first + i], call.shape[first + i]
        found.append(Window(first + i, k, s, field.window_taps(n, m, k, s, p, d)))
    return found


def pool(call: Call) -> Value:
    """A window along every spatial dimension, channels apart."""
    return slide(call.input, pool_windows(call))


def adaptive_windows(call: Call) -> list[Window]:
    """Windows of n/m, ragged where m does not divide n; ``kernel`` is then the longest."""
    lengths = call["output_size"]
    first = len(call.shape) - len(lengths)
    found = []
    for dim in range(first, len(call.shape)):
        n, m = call.input.shape[dim], call.shape[dim]
        taps = field.adaptive_taps(n, m)
        found.append(Window(dim, taps.at.shape[1], n // m or 1, taps))
    return found


def adaptive(call: Call) -> Value:
    """Adaptive pooling, channels apart."""
    return slide(call.input, adaptive_windows(call))


def reduced_dims(call: Call) -> list[int]:
    """The dimensions a reduction runs over, counted from the front."""
    num = len(call.input.shape)
    chosen = call.arguments.get("dim")
    dims = [chosen] if isinstance(chosen, int) else chosen
    return [dim % num for dim in dims] if dims else list(range(num))


def reduction_windows(call: Call) -> list[Window]:
    """The whole of each spatial dimension reduced, of a map (N, C, H, W)."""
    shape = call.input.shape
    return [Window(dim, shape[dim], shape[dim], field.whole_taps(shape[dim]))
            for dim in reduced_dims(call) if len(shape) == 4 and dim >= 2]  # fmt: skip


def reduction(call: Call) -> Value:
    """Mean, sum, maximum and their like over whole dimensions."""
    dims = reduced_dims(call)
    value = call.input
    for dim in dims:
        over_image = any(axis.jumps[dim] != 0 for axis in value.axes)
        whole = field.whole_taps(value.shape[dim])
        value = value.read(dim, whole) if over_image else value.mix(dim)
    if not call.arguments.get("keepdim", False):
        for dim in sorted(dims, reverse=True):
            value = views.drop(value, dim)
    return value


def window_ops(windows: Callable[[Call], Sequence[Window]]) -> Callable[[Call], int]:
    """Compares or adds of a pooling: outputs times the elements of their windows.

    Padding counts and a k × k window costs k², not k² − 1: so counted, stride-1 pooling with
    k = 3, 5, 7 in all 16 blocks of MobileNetV2 at 224 px is 17, 47 and 93 million. A mean over
    the whole map costs its elements.
    """

    def count(call: Call) -> int:
        found = windows(call)
        lengths = dict(enumerate(call.input.shape))
        reads = {window.dim: int(window.taps.used.sum()) for window in found}
        return prod({**lengths, **reads}.values()) if found else 0

    return count


def resample_windows(taps: Callable[[int, int], Taps]) -> Callable[[Call], list[Window]]:
    """Resampling of all spatial dimensions of (N, C, ...), by the taps of one of them."""

    def windows(call: Call) -> list[Window]:
        dims = range(2, len(call.shape))
        lengths = [(dim, call.input.shape[dim], call.shape[dim]) for dim in dims]
        for scale, (_, n, m) in zip(call["scale_factors"] or [], lengths, strict=False):
            if n * scale != m:  # torch then steps by 1/scale and not by n/m
                raise UserError(f"no rule for {call.name} from {n} to {m} pixels by {scale}")
        found = [(dim, n, m, taps(n, m)) for dim, n, m in lengths]
        return [Window(dim, t.at.shape[1], max(1, n // m), t) for dim, n, m, t in found]

    return windows


def resample(taps: Callable[[int, int], Taps]) -> Callable[[Call], Value]:
    """What resampled maps depend on."""
    windows = resample_windows(taps)
    return lambda call: slide(call.input, windows(call))


def pad(call: Call) -> Value:
    """Constant padding, torch's order: last dimension first, low side then high side."""
    value, sides = call.input, call["pad"]
    for i in range(len(sides) // 2):
        low, high = sides[2 * i], sides[2 * i + 1]
        dim = len(value.shape) - 1 - i
        n = value.shape[dim]
        value = value.read(dim, field.window_taps(n, n + low + high, 1, 1, low))
    return value
