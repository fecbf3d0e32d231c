"""The effective field: where in the image the gradient of a layer's centre unit lies.

Source: Luo et al. 2016 (arXiv 1701.04128), in the protocol of RepLKNet (arXiv 2203.06717): the
centre unit of a layer, summed over its channels; its gradient by the input; the non-negative
part, summed over input channels and averaged over images. Sizes are those of the smallest centred
square that holds a share of it. No logarithm is taken before: RepLKNet's log10(1 + x) depends on
the scale of the gradient, and so its sizes are not comparable with these.

Ours: the square is centred on the median row and column of the mass. In RepLKNet it is the
centre of the image, which is the same wherever every map has an even length, and unfair to odd
ones, whose centre unit lies elsewhere.

The network runs as its exported graph, node by node, so that functional calls and every call of
a shared module have their field too; one forward pass serves all layers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, fx, nn
from torch.export import ExportedProgram

from rfsearch.analysis.capture import capture, constants
from rfsearch.analysis.follow import module_names
from rfsearch.analysis.squares import Mass, bars, square
from rfsearch.analysis.units import Unit
from rfsearch.errors import UserError, unknown


def effective_sizes(
    module: nn.Module,
    images: Tensor,
    names: Sequence[str],
    shares: Sequence[float] = (0.5, 0.9),
    shape: Literal["square", "axes"] = "square",
) -> dict[str, dict[float, tuple[int, int]]]:
    """How far layers look, in input pixels, by name and share of the gradient.

    Args:
        module: takes images; run in eval mode and left as it was.
        images: (N, C, H, W), float, normalised as the network expects them.
        names: full names of modules whose outputs are maps (N, C', H', W').
        shares: of the mass, in (0, 1].
        shape: "square" for one square, as published; "axes" for rows and columns apart.

    Returns:
        (height, width) of what lies inside the image. (0, 0) where no gradient is positive.
    """
    size = square if shape == "square" else bars
    maps = effective_maps(module, images, names)
    return {name: {share: size(mass, share) for share in shares} for name, mass in maps.items()}


def effective_maps(module: nn.Module, images: Tensor, names: Sequence[str]) -> dict[str, Mass]:
    """The mass itself, (H, W) for every name of a module: of its output.

    Of a module that is called several times, the last call counts. A module that computes nothing
    (an identity) gives out what enters it, and has the field of that.
    """
    _, channels, height, width = images.shape
    parts = dict(module.named_modules())
    for name in names:
        if name not in parts:
            raise unknown("layer", name, parts)
    with _copied_outputs([parts[name] for name in names]):
        program = capture(module, (height, width), channels)
        nodes = {name: _last_node(program, name) for name in names}
        centre = {node.name: _of_map(name, node) for name, node in nodes.items()}
        found = masses(program, images, centre)
    return {name: found[node.name] for name, node in nodes.items()}


@contextmanager
def _copied_outputs(modules: Sequence[nn.Module]) -> Iterator[None]:
    """For a while each of them ends with an operator of its own, a copy, that a graph shows."""

    def copied(_module: nn.Module, _given: Any, output: Any) -> Any:
        return output.clone() if isinstance(output, Tensor) else output

    hooks = [module.register_forward_hook(copied) for module in modules]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _last_node(program: ExportedProgram, name: str) -> fx.Node:
    """The last operator inside the module called ``name``."""
    inside: list[fx.Node] = [n for n in program.graph.nodes if name in module_names(n)]
    if not inside:
        raise UserError(f"no effective field: {name} did not run on these images")
    return inside[-1]


def _of_map(name: str, node: fx.Node) -> Unit:
    value = node.meta["val"]
    if not isinstance(value, Tensor) or value.ndim != 4:
        raise UserError(f"no effective field: the output of {name} is no map (N, C, H, W)")
    return Unit((None, None, value.shape[2] // 2, value.shape[3] // 2))


def masses(program: ExportedProgram, images: Tensor, units: Mapping[str, Unit]) -> dict[str, Mass]:
    """The mass (H, W) of a unit of every node named, the mean over images.

    Args:
        program: a network captured for one image.
        images: (N, C, H, W); taken one by one, in this order. Four at once were slower: measured
            on MobileNetV2 at 64 and at 224 pixels.
        units: by name of the node, the unit of its output.
    """
    total = {name: np.zeros(tuple(images.shape[2:])) for name in units}
    num_threads = torch.get_num_threads()
    workers = min(num_threads, len(images)) if images.device.type == "cpu" else 1

    def of_image(image: Tensor) -> dict[str, Mass]:
        # One thread for each image: single images are too small to share, and so the result
        # does not hang on how many threads there are.
        torch.set_num_threads(1)
        return {
            name: gradient.clamp_min_(0).double().sum((0, 1)).cpu().numpy()
            for name, gradient in _gradients(program, image, units)
        }

    try:
        with ThreadPoolExecutor(workers) as pool:
            for found in pool.map(of_image, torch.split(images, 1)):
                for name, mass in found.items():
                    total[name] += mass
    finally:
        torch.set_num_threads(num_threads)
    return {name: mass / len(images) for name, mass in total.items()}


@torch.enable_grad()
def _gradients(
    program: ExportedProgram, image: Tensor, units: Mapping[str, Unit]
) -> Iterator[tuple[str, Tensor]]:
    """One forward pass as far as the last unit, then a backward pass per unit to the images."""
    stored = {name: tensor.detach() for name, tensor in constants(program).items()}
    pixels = image.detach().clone().requires_grad_()
    values: dict[fx.Node, Any] = {}
    units_seen: dict[str, Tensor] = {}
    for node in program.graph.nodes:
        if node.op == "placeholder":
            # a clone, because a network may work in place on its input
            values[node] = stored[node.name] if node.name in stored else pixels.clone()
        elif node.op == "call_function":
            args, kwargs = fx.node.map_arg((node.args, node.kwargs), values.__getitem__)
            values[node] = node.target(*args, **kwargs)
            if node.name in units:  # now, because a later operator may work in place
                units_seen[node.name] = values[node][units[node.name].index].sum()
                if len(units_seen) == len(units):
                    break
    del values
    for name, unit in units_seen.items():
        (gradient,) = torch.autograd.grad(unit, pixels, retain_graph=True, materialize_grads=True)
        yield name, gradient
