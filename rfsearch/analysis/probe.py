"""The truth about fields: put NaN into one line of the image and see where it comes out.

Shares no code with the rules: it runs the network, in float64 and eval mode, once per row and
once per column. A gradient would be weaker, since max-pooling passes it to one tap only.

Where a NaN misleads: it disappears in where, masked_fill, nan_to_num, argmax and topk; it
over-reports through weights that are exactly zero (0 · NaN), through additive −inf masks and
prefix sums.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn
from torch.export import ExportedProgram

from rfsearch.analysis.capture import capture, constants
from rfsearch.field import EMPTY_HI, EMPTY_LO, Intervals


def probe(
    module: nn.Module, image_size: tuple[int, int], channels: int = 3
) -> dict[str, tuple[Intervals, Intervals]]:
    """What every element of every tensor depends on.

    Returns:
        For each operator of the exported graph, by the name of its node: first and last row and
        first and last column of the image that turn an element into NaN, in arrays of the
        shape of its output. Operators that return several tensors are left to ``getitem``.
    """
    program = capture(copy.deepcopy(module).double(), image_size, channels)
    picture = torch.randn(
        1, channels, *image_size, dtype=torch.float64, generator=torch.Generator().manual_seed(0)
    )
    rows = _lines(program, picture, 2)
    columns = _lines(program, picture, 3)
    return {name: (rows[name], columns[name]) for name in rows}


def _lines(program: ExportedProgram, picture: Tensor, dim: int) -> dict[str, Intervals]:
    """One axis: a NaN line at every place in turn, from the first to the last."""
    first: dict[str, Tensor] = {}
    last: dict[str, Tensor] = {}
    for place in range(picture.shape[dim]):
        dirty = picture.clone()
        dirty.select(dim, place).fill_(torch.nan)
        for name, hit in _run(program, dirty):
            if name not in first:
                first[name] = torch.full(hit.shape, EMPTY_LO)
                last[name] = torch.full(hit.shape, EMPTY_HI)
            first[name][hit & (first[name] == EMPTY_LO)] = place
            last[name][hit] = place
    return {name: Intervals(_array(first[name]), _array(last[name])) for name in first}


def _array(tensor: Tensor) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    return np.asarray(tensor.numpy(), dtype=np.int64)


@torch.no_grad()
def _run(program: ExportedProgram, picture: Tensor) -> Iterator[tuple[str, Tensor]]:
    """Where NaN is, operator by operator, read before a later one can work in place."""
    stored = constants(program)
    values: dict[fx.Node, Any] = {}
    for node in program.graph.nodes:
        if node.op == "placeholder":
            values[node] = stored.get(node.name, picture)
        elif node.op == "call_function":
            args, kwargs = fx.node.map_arg((node.args, node.kwargs), values.__getitem__)
            found = values[node] = node.target(*args, **kwargs)
            if isinstance(found, Tensor):
                yield node.name, found.isnan()
