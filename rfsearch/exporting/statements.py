"""What a module does as the lines of a method: one call a line, names as a person gives them.

A name is used again as soon as nothing reads what it stood for: ``x = self.conv1(x)``.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping
from itertools import count
from typing import Any

import torch
from torch import fx

from rfsearch.errors import UserError
from rfsearch.exporting.expressions import expression, literal
from rfsearch.exporting.scopes import Scope, is_number, is_of

NAMES = ("x", "y", "z", "u", "v", "w")
"""Of tensors; after them t1, t2, ..."""
Step = fx.Node | Scope


class Writer:
    """The lines of one call.

    Args:
        scope: the call.
        held: placeholder → full name of the parameter or buffer it stands for.
        reach: full name of a module or parameter inside → how the method gets at it.
        method: call of a child → the name of the method that does it.
    """

    def __init__(
        self,
        scope: Scope,
        held: Mapping[fx.Node, str],
        reach: Callable[[str], str],
        method: Callable[[Scope], str],
    ) -> None:
        self.scope = scope
        self.held = held
        self.reach = reach
        self.method = method
        self.names: dict[fx.Node, str] = {}
        self.last = self._last_reads()

    def lines(self) -> tuple[str, ...]:
        """The arguments with commas between, then the lines of the body."""
        for node in self.scope.inputs:
            self.names[node] = self._fresh()
        given = [self.names[node] for node in self.scope.inputs]
        found = [", ".join(given)]
        for number, step in enumerate(self.scope.steps):
            if self._is_unpacked(step):
                continue
            call = self._call(step)
            found.append(self._assigned(step, number, call))
        outputs = [self.names[node] for node in self.scope.outputs]
        if outputs:
            found.append(f"return {', '.join(outputs)}")
        return _joined(found)

    def _assigned(self, step: Step, number: int, call: str) -> str:
        """The line of a call; its results are named, and names that nothing reads are free."""
        dying = [node for node in self.names if self.last.get(node, -1) <= number]
        freed = [self.names.pop(node) for node in sorted(dying, key=self._place(step))]
        made = [node if node in self.last else None for node in self._made(step)]
        if not any(made):
            return call
        for node in filter(None, made):
            self.names[node] = self._fresh(freed[0] if freed else None)
        names = ["_" if node is None else self.names[node] for node in made]
        return f"{', '.join(names)} = {call}"

    def _place(self, step: Step) -> Callable[[fx.Node], int]:
        """Where a step has a tensor among what it is given; others last."""
        given = list(step.inputs if isinstance(step, Scope) else step.all_input_nodes)
        return lambda node: given.index(node) if node in given else len(given)

    def _fresh(self, wanted: str | None = None) -> str:
        taken = set(self.names.values())
        if wanted is not None and wanted not in taken:
            return wanted
        return next(name for name in _all_names() if name not in taken)

    def _made(self, step: Step) -> list[fx.Node | None]:
        """What a step leaves: of one that is taken apart at once its parts, in order."""
        if isinstance(step, Scope):
            return list(step.outputs)
        parts = self._parts(step)
        if parts is None:
            return [step]
        places: list[fx.Node | None] = [None] * len(step.meta["val"])
        for part in parts:
            places[part.args[1]] = part  # type: ignore[index]
        return places

    def _parts(self, node: fx.Node) -> list[fx.Node] | None:
        """The elements by number that are read of a result of several; None of a tensor."""
        several = isinstance(node.meta.get("val"), list | tuple)
        users = list(node.users)
        if not several or len(node.meta["val"]) < 2 or not users:
            return None
        if len({u.args[1:] for u in users}) < len(users):
            return None
        here = all(u.target is operator.getitem and u in self.scope.steps for u in users)
        return users if here else None

    def _is_unpacked(self, step: Step) -> bool:
        if isinstance(step, Scope) or step.target is not operator.getitem:
            return False
        source: Any = step.args[0]
        return source in self.scope.steps and self._parts(source) is not None

    def _last_reads(self) -> dict[fx.Node, int]:
        """Tensor → number of the last step that reads it."""
        last: dict[fx.Node, int] = {}
        for number, step in enumerate(self.scope.steps):
            if not self._is_unpacked(step):
                for node in step.inputs if isinstance(step, Scope) else step.all_input_nodes:
                    last[node] = number
        return last | dict.fromkeys(self.scope.outputs, len(self.scope.steps))

    def _call(self, step: Step) -> str:
        if isinstance(step, fx.Node):
            return expression(step, lambda one: self._show(one, step), self._device())
        name = self.reach(step.path)
        method = self.method(step)
        called = name if method == "forward" else f"{name}.{method}"
        return f"{called}({', '.join(self._show(node, None) for node in step.inputs)})"

    def _device(self) -> str:
        """Of the first argument, whose name always stands for a tensor if it does once."""
        given = self.scope.inputs
        return f"{NAMES[0]}.device" if given and not is_number(given[0]) else '"cpu"'

    def _show(self, value: Any, step: fx.Node | None) -> str:
        """An argument."""
        if isinstance(value, fx.Node):
            return self._shown(value, step)
        if isinstance(value, list | tuple) and _has_nodes(value):
            inside = ", ".join(self._show(one, step) for one in value)
            return f"[{inside}]"
        return literal(value if not isinstance(value, torch.Size) else tuple(value))

    def _shown(self, node: fx.Node, step: fx.Node | None) -> str:
        if node in self.names:
            return self.names[node]
        if is_of(name := self.held.get(node), self.scope.path):
            return self.reach(str(name))
        if is_number(node):
            return self._number(node, step)
        raise UserError(
            f"code cannot say what {node} is inside {self.scope.path or 'the network'}"
        )

    def _number(self, node: fx.Node, step: fx.Node | None) -> str:
        """A size by a tensor at hand that has it, or a multiple of it; or as arithmetic."""
        value = node.meta["val"]
        if isinstance(value, int):
            return repr(value)
        near = list(step.all_input_nodes) if step is not None else []
        at_hand = [one for one in dict.fromkeys([*near, *self.names]) if one in self.names]
        found = [(_ratio(value, side), f"{self.names[one]}.shape[{place}]")
                 for one in at_hand for place, side in enumerate(_shape(one))]  # fmt: skip
        for ratio, text in sorted(found, key=lambda one: one[0] != 1):
            if ratio is not None:
                times = "" if ratio.p == 1 else f" * {ratio.p}"
                return text + times + ("" if ratio.q == 1 else f" // {ratio.q}")
        if node.op == "call_function" and node.target is not torch.ops.aten.sym_size.int:
            return expression(node, lambda one: self._show(one, step), '"cpu"')
        raise UserError(f"code cannot say what size {node} is in {self.scope.path}")


def _shape(node: fx.Node) -> tuple[Any, ...]:
    return tuple(getattr(node.meta.get("val"), "shape", ()))


def _ratio(value: torch.SymInt, side: Any) -> Any:
    """How many times ``side`` is in ``value`` whatever the batch, as a fraction of sympy's; None
    where that depends on it."""
    if not isinstance(side, torch.SymInt):
        return None
    ratio = value.node.expr / side.node.expr
    return ratio if ratio.is_Rational else None


def _all_names() -> Iterator[str]:
    yield from NAMES
    yield from (f"t{number}" for number in count(1))


def _has_nodes(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return any(map(_has_nodes, value))
    return isinstance(value, fx.Node)


def _joined(lines: list[str]) -> tuple[str, ...]:
    """The last assignment and the return of what it made as one line."""
    if len(lines) < 2:
        return tuple(lines)
    *before, name, last = lines
    head, equals, call = name.partition(" = ")
    if equals and last == f"return {head}":
        return (*before, f"return {call}")
    return tuple(lines)
