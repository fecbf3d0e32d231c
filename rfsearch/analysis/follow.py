"""Follows the image through an exported graph, one rule per operator."""

from __future__ import annotations

import operator
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx
from torch.export import ExportedProgram

from rfsearch.analysis.call import Call, Result, Rule
from rfsearch.analysis.dependence import Value, image
from rfsearch.analysis.rules import RULES
from rfsearch.errors import UserError

TORCH = Path(torch.__file__).parent


@dataclass(frozen=True)
class Step:
    """One operator of the graph that works on data."""

    node: fx.Node
    call: Call
    rule: Rule
    result: Result

    @property
    def output(self) -> Value:
        """The first tensor it returns."""
        return self.result if isinstance(self.result, Value) else self.result[0]


def follow(program: ExportedProgram) -> Iterator[Step]:
    """The operators that work on data, in the order of the graph."""
    for _, found in _each_node(program):
        if isinstance(found, Step):
            yield found


def trace(program: ExportedProgram) -> Iterator[tuple[fx.Node, Value]]:
    """Every tensor that a node of the graph stands for, the inputs left out."""
    for node, found in _each_node(program):
        value = found.result if isinstance(found, Step) else found
        if isinstance(value, Value):
            yield node, value


def _each_node(program: ExportedProgram) -> Iterator[tuple[fx.Node, Step | Result]]:
    """What each operator's outputs depend on; a ``Step`` where a rule said so.

    What is computed from constants alone is a constant, whatever the operator.
    """
    values: dict[fx.Node, Any] = {}
    for node in program.graph.nodes:
        if node.op == "placeholder":
            values[node] = _input(node, program)
        elif node.op == "call_function" and node.target is operator.getitem:
            part, index = node.args
            values[node] = values[part][index]
            yield node, values[node]
        elif node.op == "call_function":
            call = _call(node, values)
            if call.data:
                rule = _rule(node, call)
                values[node] = rule.result(call)
                yield node, Step(node, call, rule, values[node])
            else:
                found = tuple(Value(shape, (), call.params) for shape in call.shapes)
                values[node] = found[0] if len(found) == 1 else found
                yield node, values[node]


def _input(node: fx.Node, program: ExportedProgram) -> Value:
    """The image, or a constant that knows which parameter it is."""
    signature = program.graph_signature
    shape = tuple(node.meta["val"].shape)
    if node.name in signature.user_inputs:
        _, channels, height, width = shape
        return image(channels, height, width)
    name = signature.inputs_to_parameters.get(node.name)
    return Value(shape, (), frozenset([name] if name else []))


def _call(node: fx.Node, values: dict[fx.Node, Any]) -> Call:
    """The node with its arguments by name, values in place of nodes."""
    args, kwargs = fx.node.map_arg((node.args, node.kwargs), lambda n: values[n])
    schema = getattr(node.target, "_schema", None)
    names = [argument.name for argument in schema.arguments] if schema else map(str, range(99))
    given = {**dict(zip(names, args, strict=False)), **kwargs}
    defaults = {a.name: a.default_value for a in schema.arguments} if schema else {}
    found = node.meta.get("val")
    outputs = found if isinstance(found, list | tuple) else [found]
    shapes = tuple(tuple(t.shape) for t in outputs if isinstance(t, Tensor))
    return Call(str(node.target), {**defaults, **given}, shapes)


def _rule(node: fx.Node, call: Call) -> Rule:
    where = f"called by {module_name(node) or 'the network itself'} at {source(node)}"
    if node.target not in RULES:
        known = ", ".join(str(target) for target in RULES)
        raise UserError(
            f"no rule for operator {call.name}, {where}; to add one is a line in "
            f"rfsearch/analysis/rules.py. Known: {known}"
        )
    rule = RULES[node.target]
    odd = [
        name
        for name, argument in call.arguments.items()
        if rule.images is not None and name not in rule.images
        if isinstance(argument, Value) and argument.is_data
    ]
    if odd:
        raise UserError(
            f"no rule for operator {call.name} with {', '.join(odd)} computed from the image, "
            f"{where}"
        )
    return rule


def module_name(node: fx.Node) -> str:
    """Full name of the innermost module that called the operator, the same for every call."""
    names = module_names(node)
    return names[-1] if names else ""


def module_names(node: fx.Node) -> list[str]:
    """Full names of all modules the operator was called in, outermost first."""
    stack = (node.meta.get("nn_module_stack") or {}).values()
    return [re.sub(r"@\d+", "", name) for name, _ in stack]  # torch marks a second call @1


def source(node: fx.Node) -> str:
    """file.py:line of the innermost code that is not torch's own; empty where it is not known."""
    frames = re.findall(r'File "(.+?)", line (\d+)', node.meta.get("stack_trace") or "")
    outside = [(file, line) for file, line in frames if not Path(file).is_relative_to(TORCH)]
    if not outside:
        return ""
    file, line = outside[-1]
    installed = file.rpartition("site-packages/")
    return f"{installed[2] if installed[1] else Path(file).name}:{line}"
