"""The exported graph, cut along the calls of modules: what each of them does, as it was written.

``torch.export`` keeps for every operator the modules it was called in. A scope is one call of one
module: operators of its own and the scopes of what it calls, in order.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise

import torch
from torch import fx
from torch.export import ExportedProgram

from rfsearch.analysis.capture import inline

ASSERTIONS = ("_assert", "sym_constrain_range", "_guards_fn")
"""Operators that only refuse; what they refuse is told elsewhere."""


@dataclass(frozen=True, eq=False)
class Scope:
    """One call of the module called ``path``.

    Attributes:
        inputs: tensors it is given, its own parameters and buffers not among them; where there
            are none, sizes.
        outputs: tensors of its own that are used outside.
    """

    path: str
    steps: tuple[fx.Node | Scope, ...]
    inputs: tuple[fx.Node, ...]
    outputs: tuple[fx.Node, ...]


@dataclass(frozen=True)
class Cut:
    """The whole graph as the call of the network, with the owners of what it holds.

    Attributes:
        held: placeholder → full name of the parameter, buffer or constant it stands for.
    """

    root: Scope
    held: dict[fx.Node, str]

    def calls(self) -> dict[str, list[Scope]]:
        """Module → its calls in order."""
        found: dict[str, list[Scope]] = {}
        for scope in _within(self.root):
            found.setdefault(scope.path, []).append(scope)
        return found


def _within(scope: Scope) -> Iterator[Scope]:
    yield scope
    for step in scope.steps:
        if isinstance(step, Scope):
            yield from _within(step)


def cut(program: ExportedProgram) -> Cut:
    """The graph of a program as nested calls, without the nodes that do nothing."""
    graph = copy.deepcopy(program.graph)
    inline(program.graph_module, graph)
    for node in list(graph.nodes):
        if _is_idle(node):
            node.replace_all_uses_with(node.args[0])
            graph.erase_node(node)
    held = _held(program, graph)
    kept = [node for node in graph.nodes if node.op == "call_function" and not _is_aside(node)]
    output = next(node for node in graph.nodes if node.op == "output")
    read = {*kept, output}
    return Cut(_scope("", kept, 1, held, read), held)


def is_number(node: fx.Node) -> bool:
    """Whether a node is a whole number, such as the size of the batch."""
    return isinstance(node.meta.get("val"), torch.SymInt | int | torch.SymBool | bool)


def _is_aside(node: fx.Node) -> bool:
    name = getattr(node.target, "__name__", str(node.target))
    return is_number(node) or name.removeprefix("aten.").startswith(ASSERTIONS)


def _is_idle(node: fx.Node) -> bool:
    """Dropout outside of training, and names of a tensor for itself."""
    aten = torch.ops.aten
    if node.target in (aten.dropout.default, aten.feature_dropout.default,
                       aten.alpha_dropout.default):  # fmt: skip
        return not node.args[2]
    return node.target in (aten.alias.default, aten.detach.default, aten.detach_.default)


def _held(program: ExportedProgram, graph: fx.Graph) -> dict[fx.Node, str]:
    signature = program.graph_signature
    names = {
        **signature.inputs_to_parameters,
        **signature.inputs_to_buffers,
        **signature.inputs_to_lifted_tensor_constants,
    }
    return {node: names[node.name] for node in graph.nodes if node.name in names}


def _scope(
    path: str,
    nodes: Sequence[fx.Node],
    depth: int,
    held: dict[fx.Node, str],
    read: set[fx.Node],
) -> Scope:
    steps: list[fx.Node | Scope] = []
    for called, group in groupby(nodes, lambda node: _callee(node, depth)):
        inside = list(group)
        if called is None:
            steps += inside
        else:
            steps.append(_scope(called[1], inside, depth + 1, held, read))
    own = set(nodes)
    given = [
        one
        for node in nodes
        for one in node.all_input_nodes
        if one not in own and not is_number(one) and not is_of(held.get(one), path)
    ]
    if not given:  # what makes a tensor of none may still ask for the size of the batch
        given = [one for node in nodes for one in node.all_input_nodes if is_number(one)]
    outputs = [node for node in nodes if any(u in read and u not in own for u in node.users)]
    return Scope(path, tuple(steps), tuple(dict.fromkeys(given)), tuple(outputs))


def is_of(name: str | None, path: str) -> bool:
    """Whether a parameter or module called ``name`` stands inside the module called ``path``."""
    return name is not None and (not path or name.startswith(f"{path}."))


def _callee(node: fx.Node, depth: int) -> tuple[str, str] | None:
    """Call (unlike for every call of a module) and module at a depth of nested calls."""
    stack = [("", ""), *list(node.meta.get("nn_module_stack", {}).items())[1:]]
    entries = [(key, path if isinstance(path, str) else path[0]) for key, path in stack]
    for before, (_, path) in pairwise(entries[: depth + 1]):
        if not is_of(path, before[1]):  # called from beside: its operators are the caller's
            return None
    return entries[depth] if len(entries) > depth else None
