"""Random networks drawn as graphs of tensor operators, and run while they are drawn.

Capturing a network takes ten times as long as reading it. Here a network is written down as the
graph that a capture of it would have, so that thousands can be compared. Every operator is run at
once on a batch with one image per row and per column, each with a NaN in that line: a probe that
shares nothing with the package, not even its probe.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st
from torch import Tensor, fx

from rfsearch.field import EMPTY_HI, EMPTY_LO

aten = torch.ops.aten
CHANNELS = 4


class Drawing:
    """A graph on images (1, 3, height, width), with what comes out of every operator.

    Attributes:
        program: all that the walk reads of an exported program.
        values: per node the outputs for all images: row 0, row 1, …, column 0, column 1, …; not
            ``probed``, of one image without NaN.
    """

    def __init__(self, size: tuple[int, int], probed: bool = True) -> None:
        self.size, self.graph, self.generator = size, fx.Graph(), torch.Generator().manual_seed(0)
        signature = SimpleNamespace(
            user_inputs=["image"], inputs_to_parameters={}, inputs_to_buffers={},
            inputs_to_lifted_tensor_constants={},
        )  # fmt: skip
        self.program: Any = SimpleNamespace(
            graph=self.graph, graph_signature=signature, state_dict={}, constants={}
        )
        self.values: dict[fx.Node, Tensor] = {}
        image = self._noise(1, 3, *size)
        self.image = self._placeholder("image", _with_lines(image) if probed else image)

    def _noise(self, *shape: int) -> Tensor:
        return torch.randn(shape, generator=self.generator, dtype=torch.float64)

    def _placeholder(self, name: str, value: Tensor) -> fx.Node:
        node = self.graph.placeholder(name)
        node.meta["val"] = value[:1] if name == "image" else value
        self.values[node] = value
        return node

    def weight(self, *shape: int) -> fx.Node:
        """A parameter of noise."""
        name = f"p{len(self.program.state_dict)}"
        node = self._placeholder(name, self._noise(*shape))
        self.program.graph_signature.inputs_to_parameters[node.name] = name
        self.program.state_dict[name] = self.values[node]
        return node

    def __call__(self, target: Any, *args: Any, **kwargs: Any) -> fx.Node:
        """An operator, run and written down; what it raises leaves the graph as it was."""
        given, named = fx.node.map_arg((args, kwargs), self.values.__getitem__)
        value = target(*given, **named)
        if not value.numel():
            raise RuntimeError("nothing is left of the map")
        node = self.graph.call_function(target, args, kwargs)
        node.meta["val"] = value[:1]
        self.values[node] = value
        return node

    def shape(self, node: fx.Node) -> tuple[int, ...]:
        """As of one image."""
        return tuple(node.meta["val"].shape)

    def truth(self, node: fx.Node) -> list[tuple[Any, Any]]:
        """First and last row, first and last column, in arrays of the output's shape."""
        hits = self.values[node].isnan().numpy()
        return [_ends(part) for part in np.split(hits, [self.size[0]])]


def _with_lines(image: Tensor) -> Tensor:
    height, width = image.shape[2:]
    batch = image.repeat(height + width, 1, 1, 1)
    batch[range(height), :, range(height)] = torch.nan
    batch[range(height, height + width), :, :, range(width)] = torch.nan
    return batch


def _ends(hits: Any) -> tuple[Any, Any]:
    """(lines, *shape) → first and last line, (1, *shape)."""
    some = hits.any(0, keepdims=True)
    first, last = hits.argmax(0), len(hits) - 1 - hits[::-1].argmax(0)
    return np.where(some, first, EMPTY_LO), np.where(some, last, EMPTY_HI)


Layer = Callable[[Drawing, fx.Node], fx.Node]


def fitted(draw: Drawing, layers: Sequence[Layer], x: fx.Node) -> fx.Node:
    """A stack, without those layers for which the map has become too small."""
    for layer in layers:
        try:
            x = layer(draw, x)
        except RuntimeError:
            continue
    return x


def first(draw: Drawing) -> fx.Node:
    """From the image to `CHANNELS`."""
    return draw(aten.conv2d.default, draw.image, draw.weight(CHANNELS, 3, 1, 1))


@st.composite
def convolutions(draw: st.DrawFn) -> Layer:
    kernel, dilation, stride = ([draw(st.integers(1, n)) for _ in "hw"] for n in (4, 3, 3))
    padding = [draw(st.integers(0, d * (k - 1))) for k, d in zip(kernel, dilation, strict=True)]
    groups = draw(st.sampled_from([1, 2, 4]))
    return lambda net, x: net(
        aten.conv2d.default, x, net.weight(CHANNELS, CHANNELS // groups, *kernel),
        net.weight(CHANNELS), stride, padding, dilation, groups)  # fmt: skip


@st.composite
def transposed(draw: st.DrawFn) -> Layer:
    """Some of their outputs may see nothing: phases without a tap."""
    kernel, stride = draw(st.integers(1, 4)), draw(st.integers(1, 3))
    padding, dilation = draw(st.integers(0, 1)), draw(st.integers(1, 2))
    more = draw(st.integers(0, max(stride, dilation) - 1))
    return lambda net, x: net(
        aten.conv_transpose2d.input, x, net.weight(CHANNELS, CHANNELS // 2, kernel, kernel), None,
        [stride] * 2, [padding] * 2, [more] * 2, 2, [dilation] * 2)  # fmt: skip


@st.composite
def pools(draw: st.DrawFn) -> Layer:
    kernel, stride, ceil = draw(st.integers(1, 5)), draw(st.integers(1, 3)), draw(st.booleans())
    padding = draw(st.integers(0, kernel // 2))
    if draw(st.booleans()):
        return lambda net, x: net(aten.avg_pool2d.default, x, [kernel, kernel], [stride, stride],
                                  [padding, padding], ceil)  # fmt: skip
    dilation = draw(st.integers(1, 2)) if padding == 0 else 1
    return lambda net, x: net(aten.max_pool2d.default, x, [kernel, kernel], [stride, stride],
                              [padding, padding], [dilation, dilation], ceil)  # fmt: skip


def squeeze_excite(net: Drawing, x: fx.Node) -> fx.Node:
    """A gate for every channel, from the mean over the map."""
    mean = net(aten.mean.dim, x, [2, 3], True)
    gate = net(aten.conv2d.default, mean, net.weight(CHANNELS, CHANNELS, 1, 1))
    return net(aten.mul.Tensor, x, net(aten.sigmoid.default, gate))


def lines(net: Drawing, x: fx.Node) -> fx.Node:
    """Coordinate attention: gates from the means over rows and over columns."""
    height, width = net.shape(x)[2:]
    columns = net(aten.transpose.int, net(aten.mean.dim, x, [2], True), 2, 3)
    both = net(aten.cat.default, [net(aten.mean.dim, x, [3], True), columns], 2)
    both = net(aten.conv2d.default, both, net.weight(CHANNELS, CHANNELS, 1, 1))
    both = net(aten.sigmoid.default, net(aten.hardswish.default, both))
    rows = net(aten.slice.Tensor, both, 2, 0, height)
    columns = net(aten.slice.Tensor, both, 2, height, height + width)
    return net(aten.mul.Tensor, net(aten.mul.Tensor, x, rows),
               net(aten.transpose.int, columns, 2, 3))  # fmt: skip


def constant_gate(net: Drawing, x: fx.Node) -> fx.Node:
    """A gate with the network cut out of it."""
    return net(aten.mul.Tensor, x, net.weight(CHANNELS, 1, 1))


def shuffle(net: Drawing, x: fx.Node) -> fx.Node:
    """Half of the channels go on, changed; the order of channels is dealt out again."""
    half = CHANNELS // 2
    kept, changed = (net(aten.slice.Tensor, x, 1, at, at + half) for at in (0, half))
    changed = net(aten.conv2d.default, changed, net.weight(half, half, 3, 3), None, [1, 1], [1, 1])
    x = net(aten.unflatten.int, net(aten.cat.default, [kept, changed], 1), 1, [2, half])
    return net(aten.flatten.using_ints, net(aten.transpose.int, x, 1, 2), 1, 2)


def attention(net: Drawing, x: fx.Node) -> fx.Node:
    """Every place on all places."""
    height, width = net.shape(x)[2:]
    tokens = net(aten.transpose.int, net(aten.flatten.using_ints, x, 2), 1, 2)
    tokens = net(aten.linear.default, tokens, net.weight(CHANNELS, CHANNELS))
    tokens = net(aten.scaled_dot_product_attention.default, tokens, tokens, tokens)
    return net(aten.unflatten.int, net(aten.transpose.int, tokens, 1, 2), 2, [height, width])


def upsampled(mode: str, scale: float) -> Layer:
    target = getattr(aten, f"upsample_{mode}2d").vec
    corners = () if mode == "nearest" else (False,)
    return lambda net, x: net(target, x, None, *corners, [scale, scale])


def simple(target: Any, *args: Any) -> Layer:
    """An operator of the map alone."""
    return lambda net, x: net(target, x, *args)


def groups_normed(net: Drawing, x: fx.Node) -> fx.Node:
    return net(aten.group_norm.default, x, 2, net.weight(CHANNELS), net.weight(CHANNELS))


def normed(net: Drawing, x: fx.Node) -> fx.Node:
    mean, weight, bias = (net.weight(CHANNELS) for _ in range(3))
    return net(aten.batch_norm.default, x, weight, bias, mean, net(aten.exp.default, mean),
               False, 0.1, 1e-5, False)  # fmt: skip


OTHERS: list[Layer] = [
    squeeze_excite, lines, shuffle, attention, groups_normed, normed,
    *(upsampled(mode, scale) for mode in ("nearest", "bilinear", "bicubic") for scale in (2, 1.5)),
    *(simple(getattr(aten, name).default) for name in
      ("relu", "relu6", "hardswish", "sigmoid", "silu", "clone")),
    *(simple(aten.adaptive_avg_pool2d.default, [h, w]) for h, w in ((1, 1), (2, 3), (5, 4))),
    simple(aten.slice.Tensor, 2, 0, 99, 2), simple(aten.slice.Tensor, 3, 1, 99),
    simple(aten.pixel_unshuffle.default, 1), simple(aten.roll.default, [1, -2], [2, 3]),
    simple(aten.flip.default, [3]), simple(aten.softmax.int, 3), simple(aten.softmax.int, 1),
    simple(aten.pad.default, [1, 0, 2, 1], "reflect"), simple(aten.pad.default, [0, 1, 0, 2]),
    simple(aten.pad.default, [1, 2, 0, 0], "replicate"), simple(aten.cumsum.default, 3),
    simple(aten.pad.default, [2, 1, 1, 1], "circular"), simple(aten.transpose.int, 2, 3),
]  # fmt: skip


def layers() -> st.SearchStrategy[Layer]:
    return st.one_of(convolutions(), pools(), transposed(), st.sampled_from(OTHERS))


Build = Callable[[Drawing], fx.Node]


@st.composite
def stacks(draw: st.DrawFn) -> Build:
    """Up to four layers of every sort."""
    body = draw(st.lists(layers(), min_size=1, max_size=4))
    return lambda net: fitted(net, body, first(net))


@st.composite
def branched(draw: st.DrawFn) -> Build:
    """Layers around two branches, cropped to one size and joined."""
    before, after = draw(st.lists(layers(), max_size=1)), draw(layers())
    parts = draw(st.lists(st.lists(layers(), max_size=2), min_size=2, max_size=2))
    add = draw(st.booleans())

    def build(net: Drawing) -> fx.Node:
        x = fitted(net, before, first(net))
        x = joined(net, [fitted(net, part, x) for part in parts], add)
        return fitted(net, [after], x)

    return build


def joined(net: Drawing, maps: Sequence[fx.Node], add: bool = True) -> fx.Node:
    """Cropped to one size, and added; or pairs of their channels joined by a convolution."""
    for dim in (2, 3):
        least = min(net.shape(m)[dim] for m in maps)
        maps = [net(aten.slice.Tensor, m, dim, 0, least) for m in maps]
    if add:
        return reduce(lambda a, b: net(aten.add.Tensor, a, b), maps)
    both = net(aten.cat.default, maps, 1)
    return net(aten.conv2d.default, both, net.weight(CHANNELS, 2, 1, 1), None, [1, 1], [0, 0],
               [1, 1], CHANNELS)  # fmt: skip
