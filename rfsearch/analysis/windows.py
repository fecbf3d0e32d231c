"""Operators that move a window over the image: convolution, pooling, resampling, means.

Source: the table of intervals in Araujo et al. 2019 and torch's documentation of each operator;
checked index by index against ``analysis.probe``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import reduce
from math import prod

from rfsearch import field
from rfsearch.analysis import views
from rfsearch.analysis.call import Call, Result, Window
from rfsearch.analysis.dependence import Value
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
    if groups == 1 or not any(axis.varies(dim, value.shape[dim]) for axis in value.axes):
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
    value: Value = call["input"]
    if value.is_data:
        mixed = mix_groups(value, channel, call["groups"], call.shape[channel])
        return with_weights(call, slide(mixed, windows), 0)
    return with_weights(call, Value(call.shape, (), value.params), 0)


def with_weights(call: Call, found: Value, channel: int) -> Value:
    """Weights that come from the image: for each channel one number that all places share."""
    for name in ("weight", "bias"):
        value = call.arguments.get(name)
        if not isinstance(value, Value) or not value.is_data:
            continue
        dim = channel if name == "weight" else 0
        other = [d for d in range(len(value.shape)) if d != dim]
        flat = views.reshape(reduce(lambda v, d: v.mix(d), other, value), (value.shape[dim],))
        if len(found.shape) > 2 and flat.shape[0] != found.shape[1]:  # groups of a transpose
            flat = views.expand(flat.mix(0), (found.shape[1],))
        ones = (1,) * (len(call["weight"].shape) - 2)
        found = found.join(views.reshape(flat, (flat.shape[0], *ones)))
    return found


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
    value: Value = call["input"]
    if value.is_data:
        mixed = mix_groups(value, channel, call["groups"], call.shape[channel])
        return with_weights(call, slide(mixed, windows), 1)
    return with_weights(call, Value(call.shape, (), value.params), 1)


def transposed_macs(call: Call) -> int:
    """Inputs times the outputs that each of them adds to."""
    weight: Value = call["weight"]
    return prod(call.input.shape) * prod(weight.shape[1:])


def pool_windows(call: Call) -> list[Window]:
    """One per spatial dimension; ceil_mode shows in the output's length alone."""
    num = len(call["kernel_size"])  # torch writes one number per dimension
    first = len(call.shape) - num
    kernels = each(call["kernel_size"], num)
    strides = each(call["stride"], num) if call["stride"] else kernels
    paddings = each(call["padding"], num)
    dilations = each(call.arguments.get("dilation", 1), num)
    found = []
    for i, (k, s, p, d) in enumerate(zip(kernels, strides, paddings, dilations, strict=True)):
        n, m = call.input.shape[first + i], call.shape[first + i]
        found.append(Window(first + i, k, s, field.window_taps(n, m, k, s, p, d)))
    return found


def pool(call: Call) -> Result:
    """A window along every spatial dimension, channels apart; indices see what values see."""
    return _for_each_output(call, slide(call.input, pool_windows(call)))


def _for_each_output(call: Call, value: Value) -> Result:
    return value if len(call.shapes) == 1 else (value,) * len(call.shapes)


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


def adaptive(call: Call) -> Result:
    """Adaptive pooling, channels apart."""
    return _for_each_output(call, slide(call.input, adaptive_windows(call)))


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


def reduction(call: Call) -> Result:
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
    return _for_each_output(call, value)


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


def resample_windows(taps: Callable[..., Taps]) -> Callable[[Call], list[Window]]:
    """Resampling of all spatial dimensions of (N, C, ...), by the taps of one of them.

    A scale factor that was given is torch's rate, even where it is not n/m.
    """

    def windows(call: Call) -> list[Window]:
        dims = range(2, len(call.shape))
        corners = {"corners": True} if call.arguments.get("align_corners") else {}
        found = []
        for dim, scale in zip(dims, _scales(call, len(dims)), strict=True):
            n, m = call.input.shape[dim], call.shape[dim]
            rate = 1 / Fraction(scale).limit_denominator(1 << 16) if scale else None
            t = taps(n, m, rate, **corners)
            found.append(Window(dim, t.at.shape[1], max(1, n // m), t))
        return found

    return windows


def _scales(call: Call, num: int) -> list[float | None]:
    """Scale factors by their names in torch's schemas, one per dimension or none."""
    if "scale_factors" in call.arguments:
        return list(call["scale_factors"] or [None] * num)
    names = {1: ["scales"], 2: ["scales_h", "scales_w"], 3: ["scales_d", "scales_h", "scales_w"]}
    return [call.arguments.get(name) for name in names[num]]


def smoothly(width: int) -> Callable[..., Taps]:
    """Taps of antialiased resampling with a kernel of ``width`` inputs; corners do not matter."""

    def taps(n: int, m: int, rate: Fraction | None = None, corners: bool = False) -> Taps:
        even = Fraction(n - 1, m - 1) if corners and m > 1 else rate
        return field.smooth_taps(n, m, even, width)

    return taps


def resample(taps: Callable[..., Taps]) -> Callable[[Call], Value]:
    """What resampled maps depend on."""
    windows = resample_windows(taps)
    return lambda call: slide(call.input, windows(call))


def padded(mode: str | None = None) -> Callable[[Call], Value]:
    """Padding, torch's order: last dimension first, low side then high side."""

    def result(call: Call) -> Value:
        value = call.input
        sides = call["pad"] if "pad" in call.arguments else call["padding"]
        for i in range(len(sides) // 2):
            low, high = sides[2 * i], sides[2 * i + 1]
            dim = len(value.shape) - 1 - i
            taps = field.padding_taps(value.shape[dim], low, high, mode or call["mode"])
            value = value.read(dim, taps)
        return value

    return result


def sampled(call: Call) -> Value:
    """``grid_sample``: at places computed from the grid, so the whole of every spatial axis."""
    value, grid = call["input"], call["grid"]
    found = _everywhere(value, call.shape) if value.is_data else Value(call.shape)
    if not grid.is_data:
        return found
    places = views.reshape(grid.mix(-1), (call.shape[0], 1, *call.shape[2:]))
    return views.expand(places, call.shape).join(found, gates=False)


def grid(call: Call) -> Value:
    """``affine_grid``: each coordinate of every place from its own row of the matrix."""
    rows = call["theta"].mix(-1)
    ones = (1,) * (len(call.shape) - 2)
    return views.expand(views.reshape(rows, (call.shape[0], *ones, call.shape[-1])), call.shape)


def _everywhere(value: Value, shape: Sequence[int]) -> Value:
    """Every place on the whole of every spatial axis, channels apart."""
    for dim in range(2, len(shape)):
        value = value.read(dim, field.whole_taps(value.shape[dim], shape[dim]))
    return value


def deformed(call: Call) -> Value:
    """Deformable convolution: the whole image, and the offsets and weights at each place."""
    mixed = mix_groups(call["input"], 1, call["groups"], call.shape[1])
    found = _everywhere(mixed, call.shape)
    for name in ("offset", "mask"):
        value = call[name]
        if value.is_data and value.shape[1]:
            found = found.join(value.mix(1), gates=False)
    return found


def regions(call: Call) -> Value:
    """Pooling of regions: whole channels, whatever the regions."""
    value: Value = call["input"]
    means = reduce(lambda v, d: v.mix(d), (2, 3), value)
    return views.expand(means, call.shape)


def unpooled(call: Call) -> Value:
    """Max-unpooling: every place on the whole of its channel, for the indices say where."""
    value = call.input
    num = len(call["output_size"])
    for dim in range(len(call.shape) - num, len(call.shape)):
        value = value.read(dim, field.whole_taps(value.shape[dim], call.shape[dim]))
    return value
