"""Follows the image through an exported graph, one rule per operator."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from difflib import get_close_matches
from fractions import Fraction
from functools import cache, cached_property, reduce
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx
from torch.export import ExportedProgram

from rfsearch.analysis.call import Call, Result, Rule
from rfsearch.analysis.capture import TORCH, constants, shown
from rfsearch.analysis.dependence import Value, image
from rfsearch.analysis.reach import Axis, Reach
from rfsearch.analysis.rules import FOREIGN, REFUSED, RULES
from rfsearch.errors import UserError
from rfsearch.field import EMPTY_LO, Intervals

# What a field may be instead of exact, for a layer and all that comes after it.
AT_LEAST = "at least"  # behind an operator without a rule
AT_MOST = "at most"  # behind an operator that reads where the image tells it to


@dataclass(frozen=True)
class Step:
    """One operator of the graph that works on data.

    Attributes:
        marks: ``AT_LEAST`` and ``AT_MOST``, where they hold.
    """

    node: fx.Node
    call: Call
    rule: Rule
    result: Result
    marks: frozenset[str] = frozenset()

    @property
    def output(self) -> Value:
        """The first tensor it returns."""
        return self.result if isinstance(self.result, Value) else self.result[0]


Given = Callable[[fx.Node], Result | None]
Adjust = Callable[[Step], Step]


def _not_given(node: fx.Node) -> None:
    del node


def _as_it_is(step: Step) -> Step:
    return step


def follow(
    program: ExportedProgram,
    ignore_unknown: bool = False,
    given: Given = _not_given,
    adjust: Adjust = _as_it_is,
) -> Iterator[Step]:
    """The operators that work on data, in the order of the graph.

    ``given`` may say what an input or an operator's output is, so that no rule is asked: to begin
    somewhere else than at the image. ``adjust`` has the last word on every other step.
    """
    for _, found, _ in _Walk(program, ignore_unknown, given, adjust).nodes():
        if isinstance(found, Step):
            yield found


def trace(program: ExportedProgram) -> Iterator[tuple[fx.Node, Value]]:
    """Every tensor that a node of the graph stands for, the inputs left out."""
    for node, value, _ in trace_marked(program):
        yield node, value


def trace_marked(
    program: ExportedProgram, ignore_unknown: bool = False
) -> Iterator[tuple[fx.Node, Value, frozenset[str]]]:
    """The same, each with its marks."""
    for node, found, marks in _Walk(program, ignore_unknown).nodes():
        value = found.result if isinstance(found, Step) else found
        if isinstance(value, Value):
            yield node, value, marks


class _Walk:
    """What is known of every node so far."""

    def __init__(
        self,
        program: ExportedProgram,
        ignore_unknown: bool,
        given: Given = _not_given,
        adjust: Adjust = _as_it_is,
    ) -> None:
        self.program, self.ignore_unknown = program, ignore_unknown
        self.given, self.adjust = given, adjust
        self.values: dict[fx.Node, Any] = {}
        self.marks: dict[fx.Node, frozenset[str]] = {}
        self.numbers: dict[fx.Node, Any] = {}

    @cached_property
    def images(self) -> frozenset[str]:
        """Names of the inputs that are no parameters or constants."""
        return frozenset(self.program.graph_signature.user_inputs)

    @cached_property
    def parameters(self) -> dict[str, str]:
        """Placeholder → parameter."""
        return dict(self.program.graph_signature.inputs_to_parameters)

    @cached_property
    def stored(self) -> dict[str, Tensor]:
        """Placeholder → tensor."""
        return constants(self.program)

    @cached_property
    def last_read(self) -> dict[fx.Node, list[fx.Node]]:
        """Node → those that no node after it reads."""
        last = {one: node for node in self.program.graph.nodes for one in node.all_input_nodes}
        found: dict[fx.Node, list[fx.Node]] = {}
        for one, node in last.items():
            found.setdefault(node, []).append(one)
        return found

    def nodes(self) -> Iterator[tuple[fx.Node, Step | Result, frozenset[str]]]:
        """What each operator's outputs depend on; a ``Step`` where a rule said so.

        What is computed from constants alone is a constant, whatever the operator. What no later
        operator reads is forgotten, for channels of a wide network fill gigabytes.
        """
        for node in self.program.graph.nodes:
            if node.op == "placeholder":
                self.values[node] = self._input(node)
                self.marks[node] = frozenset()
            elif node.op == "call_function":
                self.marks[node] = frozenset().union(
                    *(self.marks.get(before, frozenset()) for before in node.all_input_nodes)
                )
                found = self._found(node)
                self.values[node] = found.result if isinstance(found, Step) else found
                yield node, found, self.marks[node]
                for read in self.last_read.get(node, []):
                    if _is_data(self.values[read]):
                        self.values[read] = None

    def _input(self, node: fx.Node) -> Result:
        """The image, or a constant that knows which parameter it is."""
        known = self.given(node)
        if known is not None:
            return known
        shape = tuple(node.meta["val"].shape)
        if node.name in self.images:
            _, channels, height, width = shape
            return image(channels, height, width)
        name = self.parameters.get(node.name)
        return Value(shape, (), frozenset([name] if name else []), lambda: self.stored[node.name])

    def _found(self, node: fx.Node) -> Step | Result:
        known = self.given(node)
        if known is not None:
            return known
        if node.target is operator.getitem:
            part, index = node.args
            found: Result = self.values[part][index]  # type: ignore[index]
            return found
        call = _call(node, self.values)
        if not call.data:
            return self._constants(node, call)
        rule = _rule(node, call, self.ignore_unknown)
        if rule is UNKNOWN:
            self.marks[node] |= {AT_LEAST}
        if rule.data_dependent(call):
            self.marks[node] |= {AT_MOST}
        return self.adjust(Step(node, call, rule, rule.result(call), self.marks[node]))

    def _constants(self, node: fx.Node, call: Call) -> Result:
        """What is computed from constants, computed itself only if a rule asks for its numbers."""
        values = tuple(
            Value(shape, (), call.params, self._number(node, i if len(call.shapes) > 1 else None))
            for i, shape in enumerate(call.shapes)
        )
        return values[0] if len(values) == 1 else values

    def _number(self, node: fx.Node, part: int | None) -> Callable[[], Tensor | None]:
        def number() -> Tensor | None:
            try:
                found = self._evaluate(node)
            except (RuntimeError, NotImplementedError):  # meta tensors have no numbers
                return None
            tensor: Tensor = found if part is None else found[part]
            return tensor

        return number

    def _evaluate(self, node: fx.Node) -> Any:
        """The tensor of a constant node; what depends on the image counts by its shape alone."""
        if node in self.numbers:
            return self.numbers[node]
        if node.op == "placeholder":
            stored = self.stored.get(node.name)
            found = torch.zeros(node.meta["val"].shape) if stored is None else stored.detach()
        elif (value := self.values[node]) is None or _is_data(value):
            found = torch.zeros(node.meta["val"].shape, dtype=node.meta["val"].dtype)
        else:
            args, kwargs = fx.node.map_arg((node.args, node.kwargs), self._copy)
            found = node.target(*args, **kwargs)  # type: ignore[operator]
        self.numbers[node] = found
        return found

    def _copy(self, node: fx.Node) -> Any:
        """A tensor of its own, for operators may write into it."""
        found = self._evaluate(node)
        return found.clone() if isinstance(found, Tensor) else found


def _is_data(value: Result) -> bool:
    """Whether it, or one of several outputs, depends on the image."""
    parts = value if isinstance(value, tuple) else (value,)
    return any(isinstance(part, Value) and part.is_data for part in parts)


def _call(node: fx.Node, values: dict[fx.Node, Any]) -> Call:
    """The node with its arguments by name, values in place of nodes."""
    args, kwargs = fx.node.map_arg((node.args, node.kwargs), lambda n: values.get(n))
    names, defaults = _signature(node.target)
    given = {**dict(zip(names, args, strict=False)), **kwargs}
    found = node.meta.get("val")
    outputs = found if isinstance(found, list | tuple) else [found]
    shapes = tuple(tuple(t.shape) for t in outputs if isinstance(t, Tensor))
    return Call(node.target, {**defaults, **given}, shapes)


@cache
def _signature(target: Any) -> tuple[list[str], dict[str, Any]]:
    """Names of an operator's arguments, and their defaults."""
    schema = getattr(target, "_schema", None)
    if schema is None:
        return list(map(str, range(99))), {}
    return [a.name for a in schema.arguments], {a.name: a.default_value for a in schema.arguments}


def _rule(node: fx.Node, call: Call, ignore_unknown: bool) -> Rule:
    rule = RULES.get(node.target) or FOREIGN.get(call.name)
    if rule is None and ignore_unknown:
        return UNKNOWN
    where = f"called by {module_name(node) or 'the network itself'} at {source(node)}"
    if node.target in REFUSED:
        raise UserError(f"no rule for operator {call.name}, {where}: {REFUSED[node.target]}")
    if rule is None:
        known = {str(target) for target in RULES} | set(FOREIGN)
        near = get_close_matches(call.name, known, n=3) or ["none"]
        raise UserError(
            f"no rule for operator {call.name}, {where}; to add one is a line in the table of "
            f"rfsearch/analysis/rules.py, {len(known)} are known, near it {', '.join(near)}"
        )
    odd = [
        name
        for name, argument in call.arguments.items()
        if rule.images is not None and name not in rule.images
        if isinstance(argument, Value) and argument.is_data
    ]
    scattered = rule.contiguous and not _in_plain_order(node)
    if (odd or scattered) and ignore_unknown:
        return UNKNOWN
    if scattered:
        raise UserError(
            f"no rule for operator {call.name} on a tensor whose memory is not in plain order, "
            f"{where}; contiguous() before it puts it so"
        )
    if odd:
        raise UserError(
            f"no rule for operator {call.name} with {', '.join(odd)} computed from the image, "
            f"{where}"
        )
    return rule


def _in_plain_order(node: fx.Node) -> bool:
    """Whether the first tensor lies in memory as its indices run, from the first element on."""
    value: Tensor = node.all_input_nodes[0].meta["val"]
    return bool(value.is_contiguous()) and int(value.storage_offset()) == 0


def _ignored(call: Call) -> Result:
    """An operator without a rule: as if element-wise, or of another shape on one element."""
    results = tuple(_least(call, shape) for shape in call.shapes)
    return results[0] if len(results) == 1 else results


def _least(call: Call, shape: tuple[int, ...]) -> Value:
    same = [value for value in call.data if value.shape == shape]
    if same:
        return reduce(Value.join, same)
    return Value(shape, tuple(_shortest(axis, len(shape)) for axis in call.input.axes))


def _shortest(axis: Axis, num_dims: int) -> Axis:
    """What the element with the shortest interval depends on, for every element."""

    def change(reach: Reach) -> Reach:
        sizes = reach.intervals.sizes
        at = np.where(sizes > 0, sizes, EMPTY_LO).argmin()
        form = (1,) * num_dims
        lo, hi = (np.broadcast_to(a, sizes.shape).flat[at] for a in (reach.lo, reach.hi))
        return replace(reach, intervals=Intervals(np.full(form, lo), np.full(form, hi)))

    return axis.each(change, (Fraction(0),) * num_dims)


UNKNOWN = Rule(_ignored, "other")


@cache
def module_of(path: str) -> str:
    """A module's full name without the marks that torch gives to a second call (@1)."""
    return re.sub(r"@\d+", "", path)


def module_name(node: fx.Node) -> str:
    """Full name of the innermost module that called the operator, the same for every call."""
    names = module_names(node)
    return names[-1] if names else ""


def module_names(node: fx.Node) -> list[str]:
    """Full names of all modules the operator was called in, outermost first."""
    stack = (node.meta.get("nn_module_stack") or {}).values()
    return [module_of(name) for name, _ in stack]


def source(node: fx.Node) -> str:
    """file.py:line of the innermost code that is not torch's own; empty where it is not known."""
    return _source(node.meta.get("stack_trace") or "")


@cache
def _source(stack_trace: str) -> str:
    for file, line in reversed(re.findall(r'File "(.+?)", line (\d+)', stack_trace)):
        if not _is_torchs(file):
            return f"{shown(Path(file))}:{line}"
    return ""


@cache
def _is_torchs(file: str) -> bool:
    return Path(file).is_relative_to(TORCH)
