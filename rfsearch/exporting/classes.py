"""Modules as classes: those that are alike share one, and what differs becomes its arguments."""

from __future__ import annotations

import builtins
import keyword
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from textwrap import wrap

from torch import Tensor, nn

from rfsearch.exporting.constructors import (
    FEW,
    Expression,
    Listing,
    Literal,
    Made,
    Own,
    Raw,
    Table,
    Word,
    buffer,
    form,
    leaf,
    literals,
    text,
    weight,
)
from rfsearch.exporting.expressions import literal
from rfsearch.exporting.scopes import Cut, Scope
from rfsearch.exporting.statements import Writer

LINE = 88
"""Columns of the file."""
RESERVED = {"load", "normalise", "nn", "F", "torch", "Tensor", "OrderedDict", "Path"}


@dataclass(frozen=True)
class Body:
    """One module of a class of its own: how it is made, and each of its methods as lines, the
    first of them the arguments."""

    path: str
    name: str
    parts: tuple[tuple[str, Expression], ...]
    methods: tuple[tuple[str, ...], ...]


@dataclass
class Class:
    """What alike modules share; ``parameters`` of its constructor, in order."""

    name: str
    members: list[Body]
    parameters: list[str] = field(default_factory=list)


@dataclass
class Modules:
    """All modules of a network: which have a class of their own, and how the others are made.

    Attributes:
        made: module → its constructor.
        bodies: those with a class of their own, inner ones first.
        kept: constants that the file of weights holds beside the network's own state.
    """

    network: nn.Module
    cut: Cut
    made: dict[str, Expression] = field(default_factory=dict)
    bodies: list[Body] = field(default_factory=list)
    kept: dict[str, Tensor] = field(default_factory=dict)
    constants: Mapping[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.calls = self.cut.calls()
        self.methods: dict[Scope, str] = {}
        self._make("", self.network)

    def _make(self, path: str, module: nn.Module) -> None:
        """The constructor of a module, of its children first."""
        calls = self.calls.get(path, [])
        for call in calls:
            self.methods[call] = "forward"
        children = {name: one for name, one in module._modules.items() if one is not None}
        for name, child in children.items():
            self._make(_inside(path, name), child)
        inner = {name: self.made[_inside(path, name)] for name in children}
        self.made[path] = (
            (leaf(module, calls) if path else None)
            or self._container(path, module, calls, inner)
            or self._own(path, module, calls, inner)
        )

    def _container(
        self,
        path: str,
        module: nn.Module,
        calls: Sequence[Scope],
        inner: Mapping[str, Expression],
    ) -> Expression | None:
        """A container of torch's, called as that calls its children or not at all."""
        if not path or module._parameters or module._buffers or self._constants(path):
            return None
        kind = type(module)
        if isinstance(module, nn.Sequential) and kind.forward is nn.Sequential.forward:
            if not all(map(self._is_chain, calls)):
                return None
            if list(inner) == [str(number) for number in range(len(inner))]:
                return Made("nn.Sequential", tuple(("", one) for one in inner.values()))
            named = Made("OrderedDict", (("", Table(tuple(inner.items()))),))
            return Made("nn.Sequential", (("", named),))
        if calls:
            return None
        if isinstance(module, nn.ModuleList):
            return Made("nn.ModuleList", (("", Listing(tuple(inner.values()))),))
        if isinstance(module, nn.ModuleDict):
            return Made("nn.ModuleDict", (("", Table(tuple(inner.items()))),))
        return None

    def _is_chain(self, call: Scope) -> bool:
        """Whether every child is called on what the one before it left."""
        last = list(call.inputs)
        for step in call.steps:
            if not isinstance(step, Scope) or list(step.inputs) != last or len(last) != 1:
                return False
            if self.methods[step] != "forward":
                return False
            last = list(step.outputs)
        return last == list(call.outputs)

    def _own(
        self,
        path: str,
        module: nn.Module,
        calls: Sequence[Scope],
        inner: Mapping[str, Expression],
    ) -> Expression:
        """A class is written out for it; for one that does and holds nothing, nn.Identity."""
        parts = [*self._held_by(path, module), *map(_child, inner.items())]
        if not calls and not parts:
            return Made("nn.Identity")
        written: list[tuple[str, ...]] = []
        for call in calls:
            lines = Writer(
                call, self.cut.held, self._reach(path), self.methods.__getitem__
            ).lines()
            if lines not in written:
                written.append(lines)
            number = written.index(lines)
            self.methods[call] = "forward" if not number else f"forward_{number + 1}"
        name = type(module).__name__
        self.bodies.append(Body(path, name, tuple(parts), tuple(written)))
        return Own(path)

    def _held_by(self, path: str, module: nn.Module) -> Iterator[tuple[str, Expression]]:
        """Parameters, buffers and constants of the module itself."""
        for name, parameter in module._parameters.items():
            if parameter is not None:
                yield name, weight(name, parameter)
        for name, tensor in module._buffers.items():
            if tensor is not None and name not in module._non_persistent_buffers_set:
                yield "", buffer(name, tensor, persistent=True)
        for name, tensor in self._constants(path).items():
            full = _inside(path, name)
            if few := tensor.numel() <= FEW:
                yield "", buffer(name, tensor, persistent=not few)
            else:
                self.kept[full] = tensor
                yield "", buffer(name, tensor, persistent=True)

    def _constants(self, path: str) -> dict[str, Tensor]:
        """Of the module itself: what its state dict has not, and its calls read."""
        read = set(self.cut.held.values())
        return {
            full.rpartition(".")[2]: tensor
            for full, tensor in self.constants.items()
            if full in read and full.rpartition(".")[0] == path
        }

    def _reach(self, base: str) -> Callable[[str], str]:
        """How a method of the module ``base`` gets at what is inside of it."""

        def reach(path: str) -> str:
            found, here = "self", base
            for name in path.removeprefix(f"{base}.").split(".") if base else path.split("."):
                found += self._step(here, name)
                here = _inside(here, name)
            return found

        return reach

    def _step(self, here: str, name: str) -> str:
        """From a module to one part of it."""
        made = self.made.get(here)
        if isinstance(made, Made) and made.function in ("nn.Sequential", "nn.ModuleList"):
            children = [n for n, c in self.network.get_submodule(here)._modules.items()
                        if c is not None]  # fmt: skip
            return f"[{children.index(name)}]"
        if isinstance(made, Made) and made.function == "nn.ModuleDict":
            return f"[{literal(name)}]"
        return f".{name}" if _is_name(name) else f".get_submodule({literal(name)})"


def _inside(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _child(named: tuple[str, Expression]) -> tuple[str, Expression]:
    name, made = named
    if _is_name(name):
        return name, made
    return "", Made("self.add_module", (("", Raw(literal(name))), ("", made)))


def _is_name(name: str) -> bool:
    return name.isidentifier() and not keyword.iskeyword(name)


def classes(modules: Modules) -> list[str]:
    """The source of all classes, inner ones first; the last is the network's."""
    groups: dict[object, Class] = {}
    kinds: dict[str, object] = {}
    numbers: dict[object, int] = {}
    for body in modules.bodies:
        alike = (body.name, body.methods,
                 tuple((name, form(made, kinds)) for name, made in body.parts))  # fmt: skip
        kinds[body.path] = numbers.setdefault(alike, len(numbers))
        groups.setdefault(alike, Class(body.name, [])).members.append(body)
    _name_apart(list(groups.values()))
    arguments: dict[str, tuple[Literal, ...]] = {}
    of: dict[str, Class] = {}
    found = []
    for one in groups.values():
        found.append(_Source(one, arguments, of).text())
        of |= {body.path: one for body in one.members}
    return found


def _name_apart(found: Sequence[Class]) -> None:
    """Number classes of one name, and those that would hide something."""
    used = {*RESERVED, *dir(builtins)}
    for one in found:
        one.name = _unlike(one.name, used)
        used.add(one.name)


@dataclass
class _Source:
    """The source of one class; leaves in ``arguments`` what each member's constructor is given."""

    one: Class
    arguments: dict[str, tuple[Literal, ...]]
    of: Mapping[str, Class]

    def text(self) -> str:
        words = self._words()
        first = self.one.members[0]
        lines = [f"class {self.one.name}(nn.Module):"]
        given = "".join(f", {name}" for name in self.one.parameters)
        lines += [f"    def __init__(self{given}):", "        super().__init__()"]
        for name, made in first.parts:
            before = f"self.{name} = " if name else ""
            lines += text(made, words, self._called).lines(8, before)
        for number, (given, *body) in enumerate(first.methods, 1):
            method = "forward" if number == 1 else f"forward_{number}"
            comma = ", " if given else ""
            lines += ["", f"    def {method}(self{comma}{given}):"]
            lines += [part for line in body for part in _wrapped(line)]
        return "\n".join(lines)

    def _words(self) -> Iterator[Word]:
        """Every value: a name where members differ in it, else itself."""
        rows = [
            [one for _, made in body.parts for one in literals(made, self.arguments)]
            for body in self.one.members
        ]
        names: dict[tuple[str, ...], str] = {}
        words: list[Word] = []
        chosen: list[int] = []
        for place, column in enumerate(zip(*rows, strict=True)):
            values = tuple(literal(one.value) for one in column)
            if len(set(values)) == 1:
                first = column[0]
                words.append((values[0], first.value == first.default))
                continue
            if values not in names:
                names[values] = _unlike(column[0].hint, names.values())
                chosen.append(place)
            words.append((names[values], False))
        self.one.parameters = list(names.values())
        for body, row in zip(self.one.members, rows, strict=True):
            self.arguments[body.path] = tuple(
                Literal(row[place].value, name)
                for place, name in zip(chosen, self.one.parameters, strict=True)
            )
        return iter(words)

    def _called(self, own: Own) -> Made:
        """A module inside: its class, and a place for each of its arguments."""
        one = self.of[own.path]
        alone = len(one.parameters) == 1
        given = [("" if alone else name, Literal(None, name)) for name in one.parameters]
        return Made(one.name, tuple(given))


def _wrapped(line: str) -> list[str]:
    """A line of a method; where it is too long, what its call is given on lines of its own."""
    if len(line) + 8 <= LINE or not line.endswith(")"):
        return [f"{' ' * 8}{line}"]
    head, _, given = line.partition("(")
    inside = wrap(given[:-1], LINE - 12, break_long_words=False, break_on_hyphens=False)
    return [f"{' ' * 8}{head}(", *(f"{' ' * 12}{part}" for part in inside), f"{' ' * 8})"]


def _unlike(hint: str, taken: Iterable[str]) -> str:
    names = set(taken)
    number, name = 1, hint
    while name in names:
        number += 1
        name = f"{hint}{number}"
    return name
