"""The truth about fields: put NaN into a part of the image and see where it comes out.

Shares no code with the rules: it runs the network, in eval mode and in float64 where the network
allows it. A gradient would be weaker, since max-pooling passes it to one tap only.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from rfsearch.analysis.capture import capture
from rfsearch.analysis.spread import Found, Prepared, picture, spread
from rfsearch.errors import UserError
from rfsearch.field import EMPTY_HI, EMPTY_LO, Intervals


def exact_program(
    module: nn.Module, image_size: tuple[int, int], channels: int = 3
) -> ExportedProgram:
    """The graph to probe: in float64, or as the module is if it insists on its own types."""
    if any(tensor.is_meta for tensor in module.parameters()):
        raise UserError("a network on the meta device has no numbers, so it cannot be probed")
    try:
        program = capture(copy.deepcopy(module).double(), image_size, channels)
    except UserError:
        program = None
    return program if program and runs(program) else capture(module, image_size, channels)


def runs(program: ExportedProgram) -> bool:
    """Whether the graph runs: some that insist on a type fail only then."""
    try:
        prepared = Prepared(program)
        for _ in spread(prepared, picture(prepared)):
            pass
    except RuntimeError:
        return False
    return True


def probe(
    module: nn.Module, image_size: tuple[int, int], channels: int = 3
) -> dict[str, tuple[Intervals, Intervals]]:
    """What every element of every tensor depends on: one run per row and per column.

    Returns:
        For each operator of the exported graph, by the name of its node: first and last row and
        first and last column of the image that turn an element into NaN, in arrays of the
        shape of its output. Operators that return several tensors are left to ``getitem``, and
        those on constants alone depend on nothing.
    """
    found, _ = lines(exact_program(module, image_size, channels))
    return found


def lines(
    program: ExportedProgram,
) -> tuple[dict[str, tuple[Intervals, Intervals]], frozenset[str]]:
    """The same for a captured program, and the names of tensors that may depend on more."""
    prepared = Prepared(program)
    rows, columns = (_lines(prepared, dim) for dim in (2, 3))
    found = {name: (rows[0][name], columns[0][name]) for name in rows[0]}
    return found, rows[1] | columns[1]


class _Ends:
    """First and last line that hit each element of a tensor, the lines taken in order."""

    def __init__(self, shape: torch.Size) -> None:
        self.first, self.last = torch.full(shape, EMPTY_LO), torch.full(shape, EMPTY_HI)
        self.seen = torch.zeros(shape, dtype=torch.bool)

    def add(self, hit: Tensor, place: int) -> None:
        self.first.masked_fill_(hit & ~self.seen, place)
        self.last.masked_fill_(hit, place)
        self.seen |= hit

    def intervals(self) -> Intervals:
        lo, hi = (np.asarray(a.numpy(), dtype=np.int64) for a in (self.first, self.last))
        return Intervals(lo, hi)


def _lines(prepared: Prepared, dim: int) -> tuple[dict[str, Intervals], frozenset[str]]:
    """One axis: a NaN line at every place in turn, from the first to the last."""
    ends: dict[str, _Ends] = {}
    least: set[str] = set()
    clean = picture(prepared)
    for place in range(clean.shape[dim]):
        dirty = clean.clone()
        dirty.select(dim, place).fill_(torch.nan)
        for found in spread(prepared, dirty):
            if found.name not in ends:
                ends[found.name] = _Ends(found.hit.shape)
            ends[found.name].add(found.hit, place)
            if found.least:
                least.add(found.name)
    return {name: end.intervals() for name, end in ends.items()}, frozenset(least)


def half(prepared: Prepared, dim: int, start: int, stop: int) -> Iterator[Found]:
    """Which elements depend on the lines ``start`` to ``stop`` − 1 along ``dim``, in one run.

    With half-planes and bisection, a border of a field takes as many runs as its place has bits.
    """
    dirty = picture(prepared)
    dirty.narrow(dim, start, stop - start).fill_(torch.nan)
    yield from spread(prepared, dirty)
