"""The range of image sizes for which every layer of a network has something new to see.

Source: Richter et al. (arXiv 2106.12307): from the smallest image without an unproductive layer
up to the largest field, beyond which no unit sees more. Ours: the network is not captured again
for every size; its graph is run on tensors without data, which gives the shapes at another size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.export import ExportedProgram

from rfsearch.analysis.capture import constants
from rfsearch.analysis.follow import Step, follow
from rfsearch.analysis.layers import AXES, Analysis, Smallest, is_spatial
from rfsearch.analysis.walk import walk

REACH = 8
"""How many times the first guess an image may be before none is said to do."""


def smallest_images(
    module: nn.Module,
    program: ExportedProgram,
    analysis: Analysis,
    ignore_unknown: bool = False,
) -> tuple[Smallest, Smallest]:
    """Along height and width, the other axis as analysed."""

    def idle_at(image_size: tuple[int, int]) -> tuple[bool, bool] | None:
        return _unproductive(module, program, image_size, ignore_unknown)

    guesses = _guesses(program, ignore_unknown)
    idle = idle_at(guesses)
    if idle is None:
        return Smallest(guesses[0], False), Smallest(guesses[1], False)
    found = [
        _search(idle_at, analysis.image_size, axis, guess) if idle[axis] else Smallest(guess)
        for axis, guess in enumerate(guesses)
    ]
    return found[0], found[1]


def _guesses(program: ExportedProgram, ignore_unknown: bool) -> tuple[int, int]:
    """Per axis one pixel more than the largest of the smallest fields that a kernel reads: below
    it, that kernel has nothing new."""
    sizes = [[1], [1]]
    for step in follow(program, ignore_unknown):
        windows = [window for window in step.rule.windows(step.call) if window.kernel > 1]
        if step.rule.kind not in ("conv", "pool") or _pools_all(step):
            continue
        for axis, dim in enumerate(range(len(step.call.shape) - 2, len(step.call.shape))):
            if any(window.dim == dim for window in windows):
                reach = step.call.input.axes[axis].reaches["smallest"]
                sizes[axis].append(int(reach.intervals.sizes.min()) + 1)
    return max(sizes[0]), max(sizes[1])


def _pools_all(step: Step) -> bool:
    shape = step.call.shape
    return step.rule.kind == "pool" and set(shape[2:] or shape) == {1}


def _search(
    idle_at: Callable[[tuple[int, int]], tuple[bool, bool] | None],
    image_size: tuple[int, int],
    axis: int,
    guess: int,
) -> Smallest:
    """Between the guess, which does not do, and ``REACH`` times as much: bisection."""

    def idle(pixels: int) -> bool:
        height, width = image_size
        found = idle_at((pixels, width) if axis == 0 else (height, pixels))
        return found is None or found[axis]

    low, high = guess, REACH * guess
    if idle(high):
        return Smallest(None)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if idle(middle) else (low, middle)
    return Smallest(high)


def _unproductive(
    module: nn.Module,
    program: ExportedProgram,
    image_size: tuple[int, int],
    ignore_unknown: bool,
) -> tuple[bool, bool] | None:
    """Whether a layer is unproductive at this size, along height and along width; None where the
    graph does not take this size."""
    try:
        with _at_size(program, image_size):
            layers = walk(
                module, image_size, program=program, ignore_unknown=ignore_unknown
            ).layers
    except (RuntimeError, ValueError, IndexError):  # torch's, for shapes that do not fit
        return None
    spatial = [layer for layer in layers if is_spatial(layer)]
    height, width = (any(getattr(row, f"unproductive_{a}") for row in spatial) for a in AXES)
    return height, width


@contextmanager
def _at_size(program: ExportedProgram, image_size: tuple[int, int]) -> Iterator[None]:
    """The program with the shapes it has at another image size, for a while."""
    shapes = _shapes(program, image_size)
    before = {node: node.meta["val"] for node in shapes}
    for node, value in shapes.items():
        node.meta["val"] = value
    try:
        yield
    finally:
        for node, value in before.items():
            node.meta["val"] = value


@torch.no_grad()
def _shapes(program: ExportedProgram, image_size: tuple[int, int]) -> dict[fx.Node, Any]:
    """Every node's value as a tensor without data."""
    stored = {name: tensor.to("meta") for name, tensor in constants(program).items()}
    values: dict[fx.Node, Any] = {}
    for node in program.graph.nodes:
        if node.op == "placeholder":
            image: Tensor = node.meta["val"]
            other = torch.empty((*image.shape[:2], *image_size), dtype=image.dtype, device="meta")
            values[node] = stored.get(node.name, other)
        elif node.op == "call_function":
            args, kwargs = fx.node.map_arg((node.args, node.kwargs), values.__getitem__)
            values[node] = node.target(*args, **{**kwargs, **_on_meta(kwargs)})
    return values


def _on_meta(kwargs: dict[str, Any]) -> dict[str, str]:
    """Operators that make tensors are told where."""
    return {"device": "meta"} if kwargs.get("device") is not None else {}
