"""The effective field: where in the image the gradient of a layer's centre unit lies.

Source: Luo et al. 2016 (arXiv 1701.04128), in the protocol of RepLKNet (arXiv 2203.06717): the
centre unit of a layer, summed over its channels; its gradient by the input; the non-negative
part, summed over input channels and averaged over images. Sizes are those of the smallest centred
square that holds a share of it. No logarithm is taken before: RepLKNet's log10(1 + x) depends on
the scale of the gradient, and so its sizes are not comparable with these.

Ours: the square is centred on the median row and column of the mass. In RepLKNet it is the
centre of the image, which is the same wherever every map has an even length, and unfair to odd
ones, whose centre unit lies elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call

from rfsearch.analysis.capture import evaluating
from rfsearch.errors import UserError, unknown

Mass = NDArray[np.float64]


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
    """The mass itself, (H, W) for every name: one forward pass, one backward pass per name.

    Of a module that is called several times, the last call counts.
    """
    weights = {name: p.detach() for name, p in module.named_parameters()}
    pixels = images.detach().requires_grad_()
    with evaluating(module), torch.enable_grad(), _centres(module, names) as centres:
        functional_call(module, weights, (pixels,))
    silent = [name for name in names if name not in centres]
    if silent:
        raise UserError(f"no effective field: {', '.join(silent)} did not run on these images")
    maps = {}
    for name in names:
        (gradient,) = torch.autograd.grad(
            centres[name], pixels, retain_graph=True, materialize_grads=True
        )
        mass = gradient.clamp_min_(0).double().sum(1).mean(0)
        maps[name] = mass.cpu().numpy()
    return maps


@contextmanager
def _centres(module: nn.Module, names: Sequence[str]) -> Iterator[dict[str, Tensor]]:
    """Fills in the centre unit of every named module while the network runs.

    Taken inside the hook, because an activation may work in place on the output later.
    """
    parts, centres = dict(module.named_modules()), dict[str, Tensor]()

    def keep(name: str, part: nn.Module, inputs: object, output: Tensor) -> None:  # noqa: ARG001
        if not isinstance(output, Tensor) or output.ndim != 4:
            raise UserError(f"no effective field: the output of {name} is no map (N, C, H, W)")
        centres[name] = output[:, :, output.shape[2] // 2, output.shape[3] // 2].sum()

    handles = []
    try:
        for name in names:
            if name not in parts:
                raise unknown("layer", name, parts)
            handles.append(parts[name].register_forward_hook(partial(keep, name)))
        yield centres
    finally:
        for handle in handles:
            handle.remove()


def square(mass: Mass, share: float) -> tuple[int, int]:
    """(height, width) of the smallest centred square with ``share`` of the mass."""
    if mass.sum() <= 0:
        return 0, 0
    (rows, middle_row), (columns, middle_column) = _distances(mass, 1), _distances(mass, 0)
    radius = _radius(np.maximum(rows[:, None], columns[None, :]), mass, share)
    height, width = mass.shape
    return _inside(middle_row, radius, height), _inside(middle_column, radius, width)


def bars(mass: Mass, share: float) -> tuple[int, int]:
    """(height, width): rows that hold ``share`` of the mass, and, apart from them, columns."""
    if mass.sum() <= 0:
        return 0, 0
    sizes = []
    for other in (1, 0):
        distances, middle = _distances(mass, other)
        line = mass.sum(other)
        sizes.append(_inside(middle, _radius(distances, line, share), len(line)))
    return sizes[0], sizes[1]


def _distances(mass: Mass, other: int) -> tuple[NDArray[np.int64], int]:
    """Distance of each line from the median line, and where that is."""
    upto = mass.sum(other).cumsum()
    middle = int(np.searchsorted(upto, upto[-1] / 2))
    return np.abs(np.arange(len(upto)) - middle), middle


def _radius(distances: NDArray[np.int64], mass: Mass, share: float) -> int:
    """The smallest distance within which ``share`` of the mass lies."""
    upto = np.bincount(distances.ravel(), mass.ravel()).cumsum()
    return int(np.searchsorted(upto, share * upto[-1]))


def _inside(middle: int, radius: int, length: int) -> int:
    return min(middle + radius, length - 1) - max(middle - radius, 0) + 1
