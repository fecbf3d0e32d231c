"""Why a network cannot be captured: the image, the network, or what torch.export cannot follow.

Only asked for after a failure, so it may take its time: the network is run once as it is, and
where that fails too, again on larger images.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from textwrap import shorten

import torch
from torch import Tensor, nn

LONGEST = 300
"""Characters of somebody else's message that are passed on."""
LARGEST = 512
"""Pixels a side up to which larger images are tried."""
OURS = Path(__file__).parents[1]
TORCH = Path(torch.__file__).parent
REASONS = {
    "GuardOnDataDependentSymNode": "what happens there depends on the values of the image",
    "DataDependentOutputException": "what happens there depends on the values of the image",
    "DynamicOutputShapeException": "how many elements come out depends on the values of the image",
}
"""Class of torch's error → what it means in plain words."""


@dataclass(frozen=True)
class Failure:
    """The innermost module at work when the network failed, and what it was given."""

    name: str
    kind: str
    shapes: tuple[tuple[int, ...], ...]
    error: Exception

    @property
    def place(self) -> str:
        """The layer in words."""
        given = ", ".join(f"({', '.join(map(str, shape))})" for shape in self.shapes)
        return f"{self.name or 'the network itself'} ({self.kind}), given {given or 'no tensor'}"


def why(module: nn.Module, example: Tensor, error: Exception) -> str:
    """One or two lines about ``error``, which capturing ``module`` on ``example`` raised."""
    kind = type(module).__name__
    failure = first_failure(module, example)
    if failure is None:
        reason = REASONS.get(type(error).__name__)
        told = first_line(error)
        return (
            f"torch.export cannot capture {kind}{_where(error)}: "
            f"{f'{reason} ({type(error).__name__})' if reason else told}"
        )
    size = "×".join(map(str, example.shape[2:]))
    enough = _size_that_runs(module, example)
    if enough is not None:
        return (
            f"images of {size} pixels are too small for {failure.place}: "
            f"{first_line(failure.error)}\nthe smallest that runs is {'×'.join(map(str, enough))}"
        )
    shape = ", ".join(map(str, example.shape))
    return (
        f"{kind} does not take a batch of images ({shape}): it fails in {failure.place}"
        f"{_where(failure.error)}: {first_line(failure.error)}"
    )


def first_line(error: Exception) -> str:
    """An error in one line: its class and the first line that says something."""
    told = shorten(next(filter(str.strip, str(error).splitlines()), ""), LONGEST)
    return f"{type(error).__name__}: {told}" if told else type(error).__name__


def _where(error: Exception) -> str:
    """The innermost line of code that is neither torch's nor ours."""
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if Path(frame.filename).is_file()
        and not any(Path(frame.filename).is_relative_to(place) for place in (OURS, TORCH))
        and "contextlib" not in Path(frame.filename).name
    ]
    if not frames:
        return ""
    file, number, code = frames[-1].filename, frames[-1].lineno, frames[-1].line
    installed = file.rpartition("site-packages/")
    name = installed[2] if installed[1] else Path(file).name
    return f", {name}:{number}" + (f" `{code}`" if code else "")


@torch.no_grad()
def first_failure(module: nn.Module, example: Tensor) -> Failure | None:
    """Where the network fails when it simply runs; None where it does not."""
    with _at_work(module) as stack:
        try:
            module(example)
        except Exception as error:
            name, part, given = stack[-1] if stack else ("", module, (tuple(example.shape),))
            return Failure(name, type(part).__name__, given, error)
    return None


Work = tuple[str, nn.Module, tuple[tuple[int, ...], ...]]


@contextmanager
def _at_work(module: nn.Module) -> Iterator[list[Work]]:
    """The stack of modules at work, each with the shapes it was given."""
    stack: list[Work] = []
    names = {part: name for name, part in module.named_modules()}

    def enter(part: nn.Module, inputs: tuple[object, ...]) -> None:
        shapes = tuple(tuple(each.shape) for each in inputs if isinstance(each, Tensor))
        stack.append((names[part], part, shapes))

    def leave(part: nn.Module, inputs: object, output: object) -> None:  # noqa: ARG001
        stack.pop()

    handles = []
    for part in module.modules():
        handles += [part.register_forward_pre_hook(enter), part.register_forward_hook(leave)]
    try:
        yield stack
    finally:
        for handle in handles:
            handle.remove()


def _size_that_runs(module: nn.Module, example: Tensor) -> tuple[int, int] | None:
    """The smallest image of the same proportions, to the pixel of its longer side, that runs."""
    batch, channels, *sides = example.shape
    longer = max(sides)

    def size(pixels: int) -> tuple[int, int]:
        height, width = (max(1, round(pixels * side / longer)) for side in sides)
        return height, width

    def runs(pixels: int) -> bool:
        return first_failure(module, example.new_zeros(batch, channels, *size(pixels))) is None

    low, high = longer, 2 * longer
    while not runs(high):
        low, high = high, 2 * high
        if high > max(LARGEST, 2 * longer):
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if runs(middle) else (middle, high)
    return size(high)
