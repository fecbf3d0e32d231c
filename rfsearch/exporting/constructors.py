"""How modules are made, as data: calls whose numbers may become arguments of a class.

A `Literal` is a plain value at a place where alike modules may differ. `Made` is a call with
arguments, `Own` a module whose class is written out, `Raw` text that never differs.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from rfsearch.exporting.expressions import literal
from rfsearch.exporting.scopes import Scope

NEEDED = "needed"
"""In place of the default of an argument that has none."""
SIDES = ("kernel_size", "stride", "padding", "dilation", "output_padding", "output_size", "size",
         "normalized_shape")  # fmt: skip
"""Arguments for which one number stands for several alike."""
FEW = 16
"""Elements up to which a constant is written as numbers and not kept in the file of weights."""


@dataclass(frozen=True)
class Literal:
    """``hint``: what it is called; ``default``: the value that need not be written."""

    value: Any
    hint: str
    default: Any = NEEDED


@dataclass(frozen=True)
class Raw:
    """Source as it stands."""

    text: str


@dataclass(frozen=True)
class Made:
    """``function(...)``; each argument has its keyword, or none."""

    function: str
    arguments: tuple[tuple[str, Expression], ...] = ()


@dataclass(frozen=True)
class Table:
    """A dictionary by names."""

    entries: tuple[tuple[str, Expression], ...]


@dataclass(frozen=True)
class Listing:
    """A list."""

    entries: tuple[Expression, ...]


@dataclass(frozen=True)
class Own:
    """The module called ``path``, of a class that is written out."""

    path: str


Expression = Literal | Raw | Made | Table | Listing | Own
Arguments = Mapping[str, Sequence[Literal]]
"""Module → what the constructor of its class is given."""


def literals(made: Expression, arguments: Arguments) -> Iterator[Literal]:
    """All values in it that may differ between alike modules, in the order of the text."""
    if isinstance(made, Literal):
        yield made
    elif isinstance(made, Own):
        yield from arguments[made.path]
    else:
        for _, one in _inside(made):
            yield from literals(one, arguments)


def _inside(made: Expression) -> tuple[tuple[str, Expression], ...]:
    """The expressions in it, each with its keyword."""
    if isinstance(made, Made):
        return made.arguments
    if isinstance(made, Table):
        return made.entries
    return tuple(("", one) for one in made.entries) if isinstance(made, Listing) else ()


def form(made: Expression, kinds: Mapping[str, object]) -> object:
    """What is left of it without these values; ``kinds`` is by module, of those written out."""
    if isinstance(made, Literal):
        return "?", made.hint, repr(made.default)
    if isinstance(made, Own):
        return "own", kinds[made.path]
    if isinstance(made, Raw):
        return made.text
    head = made.function if isinstance(made, Made) else type(made).__name__
    return head, tuple((name, form(one, kinds)) for name, one in _inside(made))


def leaf(module: nn.Module, calls: Sequence[Scope]) -> Made | None:
    """The constructor of a module of torch.nn, or of one that does the same; None of any other."""
    own = type(module)
    kind = own if _is_torchs(own) else _same(module, calls)
    alone = all(len(call.inputs) == len(call.outputs) == 1 for call in calls)
    if kind is None or not alone or any(True for _ in module.children()):
        return None
    if kind is nn.Identity:
        return Made("nn.Identity")
    given = []
    for one in inspect.signature(kind).parameters.values():
        if one.kind in (one.VAR_POSITIONAL, one.VAR_KEYWORD):
            return None
        if one.name in ("device", "dtype") or one.name.startswith("_"):
            continue
        found = _argument(module, one)
        if found is None:
            return None
        needed = one.default is inspect.Parameter.empty
        given.append(("" if needed else one.name, found))
    return Made(f"nn.{kind.__name__}", tuple(given))


def _is_torchs(kind: type) -> bool:
    return kind.__module__.startswith("torch.nn.modules.") and hasattr(nn, kind.__name__)


def _same(module: nn.Module, calls: Sequence[Scope]) -> type | None:
    """nn.Conv2d for a kind of it that, in evaluation mode, is one plain convolution."""
    if not isinstance(module, nn.Conv2d) or module.padding_mode != "zeros" or not calls:
        return None
    return nn.Conv2d if all(_is_convolution(call, module) for call in calls) else None


def _is_convolution(call: Scope, conv: nn.Conv2d) -> bool:
    if len(call.steps) != 1 or not isinstance(node := call.steps[0], fx.Node):
        return False
    usual = ((1, 1), (0, 0), (1, 1), 1)
    given = node.args[3:]
    settings = [tuple(one) if isinstance(one, list | tuple) else one
                for one in (*given, *usual[len(given):])]  # fmt: skip
    wanted = [conv.stride, conv.padding, conv.dilation, conv.groups]
    return node.target is torch.ops.aten.conv2d.default and settings == wanted


def _argument(module: nn.Module, parameter: inspect.Parameter) -> Literal | None:
    """What the module was given, as its attribute of that name says."""
    default = NEEDED if parameter.default is inspect.Parameter.empty else parameter.default
    if not hasattr(module, parameter.name):  # such as how weights begin
        return None if default == NEEDED else Literal(default, parameter.name, default)
    value = getattr(module, parameter.name)
    if isinstance(default, bool) and (value is None or isinstance(value, Tensor)):
        value = value is not None
    if parameter.name in SIDES:
        value, default = _short(value), _short(default)
    return Literal(value, parameter.name, default) if _is_plain(value) else None


def _short(value: Any) -> Any:
    """(3, 3) as 3."""
    if isinstance(value, list):
        value = tuple(value)
    alike = isinstance(value, tuple) and len(set(value)) == 1
    return value[0] if alike else value


def _is_plain(value: Any) -> bool:
    if isinstance(value, tuple):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, bool | int | float | str)


def weight(name: str, tensor: Tensor) -> Expression:
    """A parameter that the file of weights fills."""
    del name
    return Made("nn.Parameter", (("", _empty(tensor)),))


def buffer(name: str, tensor: Tensor, persistent: bool) -> Expression:
    """A buffer: of the file of weights, or written as numbers."""
    if persistent:
        return Made("self.register_buffer", (("", Raw(literal(name))), ("", _empty(tensor))))
    numbers = Literal(_nested(tensor.tolist()), name)
    made = Made("torch.tensor", (("", numbers), *_dtype(tensor)))
    return Made(
        "self.register_buffer",
        (("", Raw(literal(name))), ("", made), ("persistent", Raw("False"))),
    )


def _empty(tensor: Tensor) -> Made:
    sides: list[tuple[str, Expression]] = [("", Literal(n, "size")) for n in tensor.shape]
    return Made("torch.zeros", (*(sides or [("", Raw("()"))]), *_dtype(tensor)))


def _dtype(tensor: Tensor) -> tuple[tuple[str, Expression], ...]:
    return () if tensor.dtype == torch.float32 else (("dtype", Raw(str(tensor.dtype))),)


def _nested(values: Any) -> Any:
    return tuple(map(_nested, values)) if isinstance(values, list) else values


Word = tuple[str, bool]
"""A value as text, and whether it is the default, which need not be written."""


def text(made: Expression, words: Iterator[Word], called: Callable[[Own], Made]) -> Text:
    """Its source; ``words`` are those of `literals`, in that order, and ``called`` gives the
    constructor of a class that is written out, its values not filled in."""
    if isinstance(made, Raw):
        return Text(made.text)
    if isinstance(made, Literal):
        return Text(next(words)[0])
    if isinstance(made, Own):
        made = called(made)
    if isinstance(made, Table):
        inside = [(f"{literal(name)}: ", text(one, words, called)) for name, one in made.entries]
        return Text("{", tuple(inside), "}")
    if isinstance(made, Listing):
        listed = [("", text(one, words, called)) for one in made.entries]
        return Text("[", tuple(listed), "]")
    parts = []
    for name, one in made.arguments:
        if isinstance(one, Literal):
            word, is_default = next(words)
            if is_default and name:
                continue
            found = Text(word)
        else:
            found = text(one, words, called)
        parts.append((f"{name}=" if name else "", found))
    return Text(f"{made.function}(", tuple(parts), ")")


@dataclass(frozen=True)
class Text:
    """Source of an expression: its head and, in brackets, its parts, each after its prefix."""

    head: str
    parts: tuple[tuple[str, Text], ...] = ()
    tail: str = ""

    @property
    def flat(self) -> str:
        """On one line."""
        inside = ", ".join(prefix + part.flat for prefix, part in self.parts)
        return f"{self.head}{inside}{self.tail}"

    def lines(self, indent: int, before: str = "", after: str = "", width: int = 88) -> list[str]:
        """On as many lines as its width asks for, each ``indent`` spaces in at least."""
        whole = f"{' ' * indent}{before}{self.flat}{after}"
        if len(whole) <= width or not self.parts:
            return [whole]
        opened = f"{' ' * indent}{before}{self.head}"
        inside = ", ".join(prefix + part.flat for prefix, part in self.parts)
        simple = not any(part.parts for _, part in self.parts)
        if simple and len(inside) + indent + 4 <= width:
            return [opened, f"{' ' * (indent + 4)}{inside}", f"{' ' * indent}{self.tail}{after}"]
        found = [opened]
        for prefix, part in self.parts:
            found += part.lines(indent + 4, prefix, ",", width)
        return [*found, f"{' ' * indent}{self.tail}{after}"]
