"""Slots of any network, found in its exported graph by the types of operators.

A slot belongs to a convolution with a kernel above 1 that is called once. Its enhancer comes
after the norm and the activation that follow, in whatever order and with dropout or changes of
layout between them, as long as each is read by the next alone. Where no module marks that place,
it comes nearer to the convolution: after the norm, or the convolution itself.

A place is marked by a module that runs once and

    gives out that map and nothing else, to others: the enhancer runs after it (at the end of a
        sequence, where it ends one);
    takes in that map and nothing else, alone: the enhancer runs before it.

So the forward of a network may be any code. What is found is checked by running it
(``tests/backbones/test_anatomy.py``): a module put at a slot sees each image once, as a map of the
slot's channels.
"""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import fx, nn
from torch.export import ExportedProgram

from rfsearch.analysis.families import overloads
from rfsearch.analysis.follow import module_of
from rfsearch.analysis.rules import RULES
from rfsearch.backbones.slots import LEAVES, Slot

aten = torch.ops.aten

CONVOLUTIONS = frozenset(overloads([aten.conv2d, aten.convolution]))
LINEARS = frozenset(overloads([aten.linear, aten.addmm]))
TRANSPOSITIONS = frozenset(overloads([aten.permute, aten.transpose]))
COPIES = frozenset(overloads([
    aten.dropout, aten.feature_dropout, aten.clone, aten.contiguous, aten.detach, aten.alias,
    aten.to, aten._to_copy,
]))  # fmt: skip
FOLLOWING = ("norm", "activation")


@dataclass(frozen=True)
class Anatomy:
    """What of a network a search needs to know.

    Attributes:
        slots: in network order.
        left_out: full names of spatial convolutions without a slot → why.
        convolutions: full names of the spatial convolutions that are called once, in network
            order; they may be replaced.
        head: full name of the last layer with weights of its own, whose outputs are the
            network's; empty where no module is that.
        kinds: how often operators of each kind stand in the graph, convolutions told apart by
            their kernel.
    """

    slots: tuple[Slot, ...]
    left_out: tuple[tuple[str, str], ...]
    convolutions: tuple[str, ...]
    head: str
    kinds: tuple[tuple[str, int], ...]


def anatomy(network: nn.Module, program: ExportedProgram) -> Anatomy:
    """The anatomy of a network.

    Args:
        program: its exported graph, on one image.
    """
    return _Graph(network, program).anatomy()


Frame = tuple[str, str]
"""One call of a module: torch's key for the call, and the module's full name."""


class _Graph:
    """The graph with the modules that every operator was called in."""

    def __init__(self, network: nn.Module, program: ExportedProgram) -> None:
        self.network, self.program = network, program
        self.modules = dict(network.named_modules())
        self.nodes: list[fx.Node] = [n for n in program.graph.nodes if n.op == "call_function"]
        self.frames = {node: _frames(node) for node in self.nodes}

    @cached_property
    def inside(self) -> dict[Frame, set[fx.Node]]:
        """Call of a module → the operators in it."""
        found: dict[Frame, set[fx.Node]] = {}
        for node, frames in self.frames.items():
            for frame in frames:
                found.setdefault(frame, set()).add(node)
        return found

    @cached_property
    def calls(self) -> Counter[str]:
        """How often a module is called."""
        return Counter(name for _, name in self.inside)

    def anatomy(self) -> Anatomy:
        """The whole."""
        slots: list[Slot] = []
        left: list[tuple[str, str]] = []
        convolutions = [node for node in self.nodes if _is_spatial(node)]
        times = Counter(self.owner(node) for node in convolutions)
        for node in convolutions:
            name = self.owner(node)
            place = self.place(node) if times[name] == 1 else None
            if place is not None:
                slots.append(Slot(name, place[0], _shape(node)[1], _stride(node),
                                  place[1]))  # fmt: skip
            elif (name, self.why_not(times[name])) not in left:
                left.append((name, self.why_not(times[name])))
        kinds = Counter(kind for node in self.nodes if (kind := _kind(node)))
        once = tuple(name for name, count in times.items() if count == 1)
        return Anatomy(tuple(slots), tuple(left), once, self.head(), tuple(sorted(kinds.items())))

    def owner(self, node: fx.Node) -> str:
        """Full name of the module that called an operator."""
        frames = self.frames[node]
        return frames[-1][1] if frames else ""

    def why_not(self, times: int) -> str:
        """Why a convolution has no slot."""
        if times > 1:
            return f"it runs {times} times"
        return "no module ends or begins where its map, the norm or the activation after it does"

    def place(self, node: fx.Node) -> tuple[str, str] | None:
        """Where the enhancer of a convolution stands, and how it is run there."""
        for end in reversed(list(self.group(node))):
            if found := self.after(end) or self.before(end):
                return found
        return None

    def group(self, node: fx.Node) -> Iterator[fx.Node]:
        """The convolution, and every operator up to which its norm and activation are whole:
        the map lies as the convolution gave it out, and something has been done to it."""
        shape, seen = _shape(node), set[str]()
        order: tuple[int, ...] = (0, 1, 2, 3)
        fresh = True
        while True:
            if fresh and order == (0, 1, 2, 3) and _shape(node) == shape:
                yield node
                fresh = False
            if len(node.users) != 1:
                return
            node = next(iter(node.users))
            kind = _following(node)
            if node.target in TRANSPOSITIONS:
                order = _transposed(order, node)
            elif kind in seen or kind is None:
                return
            elif kind in FOLLOWING:
                seen.add(kind)
                fresh = True

    def after(self, node: fx.Node) -> tuple[str, str] | None:
        """The module whose only output is this map."""
        ending = []
        for frame in reversed(self.frames[node]):
            inside = self.inside[frame]
            given = {one for one in inside if any(user not in inside for user in one.users)}
            if given != {node} or any(user in inside for user in node.users):
                break
            if self.calls[frame[1]] == 1:
                ending.append(frame[1])
        names = [name for name in ending if not self.is_sequence(name)]
        for name in ending[:2]:
            if self.is_sequence(name):
                return f"{name}.{_next(self.modules[name])}", "child"
        return self.hooked(names[0], "after") if names else None

    def before(self, node: fx.Node) -> tuple[str, str] | None:
        """The module that reads this map, alone and nothing else."""
        users = [user for user in node.users if user.op == "call_function"]
        if not users or len(users) < len(node.users):
            return None
        shared = [frame for frame in self.frames[users[0]]
                  if all(frame in self.frames[user] for user in users)
                  and frame not in self.frames[node]]  # fmt: skip
        for _, name in (frame for frame in reversed(shared) if self.reads(frame) == {node}):
            if self.calls[name] == 1 and not self.is_sequence(name):
                return self.hooked(name, "before")
        return None

    def reads(self, frame: Frame) -> set[fx.Node]:
        """What comes from outside into a call, parameters left out."""
        inside = self.inside[frame]
        read = {given for node in inside for given in node.all_input_nodes} - inside
        images = set(self.program.graph_signature.user_inputs)
        return {one for one in read if one.op == "call_function" or one.name in images}

    def hooked(self, name: str, way: str) -> tuple[str, str] | None:
        """A place inside a module that does not know of it, if that name is free there."""
        module = self.modules.get(name)
        leaf = LEAVES[way]
        free = module is not None and not hasattr(module, leaf)
        return (f"{name}.{leaf}", way) if free else None

    def is_sequence(self, name: str) -> bool:
        """Whether a module runs its children one after another, whatever they are."""
        module = self.modules.get(name)
        return module is not None and type(module).forward is nn.Sequential.forward

    def head(self) -> str:
        """See `Anatomy`."""
        (output,) = [node for node in self.program.graph.nodes if node.op == "output"]
        before = [node for node in output.all_input_nodes if node.op == "call_function"]
        while len(before) == 1:
            node = before[0]
            if node.target in LINEARS or node.target in CONVOLUTIONS:
                name = self.owner(node)
                module = self.modules.get(name)
                plain = isinstance(module, nn.Linear | nn.Conv2d) and self.calls[name] == 1
                return name if plain else ""
            before = [one for one in node.all_input_nodes if one.op == "call_function"]
        return ""


def _frames(node: fx.Node) -> list[Frame]:
    """The calls of modules that an operator was called in, outermost first, the network's left
    out."""
    stack = node.meta.get("nn_module_stack") or {}
    return [(key, module_of(name)) for key, (name, _) in stack.items() if name]


def _is_spatial(node: fx.Node) -> bool:
    if node.target not in CONVOLUTIONS or len(_shape(node)) != 4:
        return False
    weight = node.all_input_nodes[1].meta["val"]
    return max(weight.shape[2:]) > 1 and not (len(node.args) > 6 and node.args[6] is True)


def _shape(node: fx.Node) -> tuple[int, ...]:
    """Of the tensor it gives out; of several there is none."""
    value = node.meta["val"]
    return tuple(value.shape) if isinstance(value, torch.Tensor) else ()


def _stride(node: fx.Node) -> int:
    schema: Any = node.target
    names = [argument.name for argument in schema._schema.arguments]
    given = dict(zip(names, node.args, strict=False)) | dict(node.kwargs)
    stride = given.get("stride", 1)
    return int(stride[0]) if isinstance(stride, list | tuple) else int(stride)


def _following(node: fx.Node) -> str | None:
    """norm, activation, or "" for what changes nothing; None for anything else."""
    if node.target is operator.getitem:  # the first output of a norm with several
        return "" if node.args[1] == 0 else None
    if node.target in COPIES or node.target in TRANSPOSITIONS:
        return ""
    rule = RULES.get(node.target)
    return rule.kind if rule is not None and rule.kind in FOLLOWING else None


def _transposed(order: tuple[int, ...], node: fx.Node) -> tuple[int, ...]:
    """Which dimension of the convolution's map each dimension is, after a transposition."""
    num = len(order)
    if node.target in overloads([aten.permute]):
        dims: Any = node.args[1]
        return tuple(order[dim % num] for dim in dims)
    given: Any = node.args[1:3]
    first, second = (dim % num for dim in given)
    swapped = list(order)
    swapped[first], swapped[second] = swapped[second], swapped[first]
    return tuple(swapped)


def _next(sequence: nn.Module) -> str:
    """The name of one more module at the end of a sequence."""
    names = list(sequence._modules)
    return str(max(map(int, names)) + 1) if all(map(str.isdigit, names)) else LEAVES["after"]


def _kind(node: fx.Node) -> str:
    """The kind of an operator, for who asks why a network has no slots."""
    if node.target in CONVOLUTIONS:
        kernel: Sequence[int] = node.all_input_nodes[1].meta["val"].shape[2:]
        return f"conv {'×'.join(map(str, kernel))}"
    rule = RULES.get(node.target)
    return (rule.kind or "") if rule is not None else ""
