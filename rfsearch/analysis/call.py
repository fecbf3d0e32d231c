"""One call of a tensor operator in an exported graph, and what a rule about it says."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from rfsearch.analysis.dependence import Value
from rfsearch.field import Taps

Result = Value | tuple[Value, ...]


@dataclass(frozen=True)
class Window:
    """How an operator moves along one dimension of its input."""

    dim: int
    kernel: int
    stride: int
    taps: Taps


@dataclass(frozen=True)
class Call:
    """An operator with its arguments by their names in torch's schema.

    Attributes:
        target: the operator, ``torch.ops.aten.conv2d.default``.
        arguments: tensors are ``Value``s, defaults are filled in.
        shapes: shapes of the tensors it returns.
    """

    target: Any
    arguments: dict[str, Any]
    shapes: tuple[tuple[int, ...], ...]

    @property
    def name(self) -> str:
        """``aten.conv2d.default``."""
        return str(self.target)

    def __getitem__(self, argument: str) -> Any:
        return self.arguments[argument]

    @property
    def input(self) -> Value:
        """The first tensor."""
        return self.values[0]

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the first tensor returned."""
        return self.shapes[0]

    @cached_property
    def values(self) -> list[Value]:
        """All tensors among the arguments, in order."""
        return [value for argument in self.arguments.values() for value in tensors(argument)]

    @cached_property
    def data(self) -> list[Value]:
        """The tensors that depend on the image."""
        return [value for value in self.values if value.is_data]

    @property
    def params(self) -> frozenset[str]:
        """Parameters that the constants among the arguments were computed from."""
        return frozenset().union(*(value.params for value in self.values))


def tensors(argument: object) -> list[Value]:
    """The tensors of one argument: itself, those of a list, or none."""
    if isinstance(argument, Value):
        return [argument]
    if isinstance(argument, list | tuple):
        return [value for item in argument for value in tensors(item)]
    return []


def no_windows(call: Call) -> Sequence[Window]:  # noqa: ARG001 - the signature is the contract
    """For operators that do not move over the image."""
    return ()


def nothing_counted(call: Call) -> int:  # noqa: ARG001 - the signature is the contract
    """For operators that cost neither multiply-adds nor window operations."""
    return 0


def never(call: Call) -> bool:  # noqa: ARG001 - the signature is the contract
    """For operators that read at places known beforehand."""
    return False


def always(call: Call) -> bool:  # noqa: ARG001 - the signature is the contract
    """For operators that read where the image tells them to."""
    return True


@dataclass(frozen=True)
class Rule:
    """All that is known about one operator; pure functions of a call.

    Attributes:
        result: what its outputs depend on.
        kind: the kind of layer it makes (design: conv, pool, join, …); None: no layer.
        images: names of the arguments that may depend on the image; None: any.
        windows: how it moves over the image.
        macs: multiply-adds.
        window_ops: compares or adds of pooling.
        data_dependent: whether what it reads depends on the image itself, so that the result is
            the most it can depend on.
        contiguous: it reads memory as it lies, and is known for tensors in plain order alone.
    """

    result: Callable[[Call], Result]
    kind: str | None = None
    images: tuple[str, ...] | None = None
    windows: Callable[[Call], Sequence[Window]] = no_windows
    macs: Callable[[Call], int] = nothing_counted
    window_ops: Callable[[Call], int] = nothing_counted
    data_dependent: Callable[[Call], bool] = never
    contiguous: bool = False
