"""A found network without this package in it: torch's modules and the network's own alone.

What stands at a slot is written as a graph of torch's operators (``torch.fx``), and so is the hook
that runs it, so that ``torch.save`` of the whole network is read where this package is not. An
operator that no such graph can hold, which is `rolling`'s, stays as it is.
"""

from __future__ import annotations

from collections.abc import Iterable
from operator import add, getitem

from torch import fx, nn

from rfsearch.backbones.slots import Slot, unhook

PACKAGE = __name__.partition(".")[0]


def plain(network: nn.Module, slots: Iterable[Slot]) -> nn.Module:
    """The network, changed in place; names, weights and outputs stay."""
    for slot in slots:
        for place in (slot.name, slot.place):
            path, _, leaf = place.rpartition(".")
            parent = network.get_submodule(path)
            found = parent._modules.get(leaf)
            if found is not None and _is_ours(found):
                parent._modules[leaf] = traced(found)
        _hook(network, slot)
    return network


def traced(module: nn.Module) -> nn.Module:
    """One of ours as torch's modules alone, which share its weights. Of others only the graph of
    their forward would be left, without the hooks that run an enhancer there."""
    try:
        return fx.symbolic_trace(module)
    except (fx.proxy.TraceError, RuntimeError, TypeError):
        return module


def _is_ours(module: nn.Module) -> bool:
    return type(module).__module__.partition(".")[0] == PACKAGE


def _hook(network: nn.Module, slot: Slot) -> None:
    """The slot's hook, if it has one, as a graph."""
    path, _, leaf = slot.place.rpartition(".")
    parent = network.get_submodule(path)
    if not unhook(parent, slot.way):
        return
    if slot.way == "after":
        parent.register_forward_hook(_graph(parent, leaf, slot.way))
    else:
        parent.register_forward_pre_hook(_graph(parent, leaf, slot.way))


def _graph(parent: nn.Module, leaf: str, way: str) -> fx.GraphModule:
    """A hook of torch that runs a child of its module, on the outputs or on the first input."""
    graph = fx.Graph()
    graph.placeholder("module")
    given = graph.placeholder("given")
    if way == "after":
        graph.output(graph.call_module(leaf, (graph.placeholder("output"),)))
    else:
        first = graph.call_function(getitem, (given, 0))
        rest = graph.call_function(getitem, (given, slice(1, None)))
        graph.output(graph.call_function(add, ((graph.call_module(leaf, (first,)),), rest)))
    child = {leaf: parent.get_submodule(leaf)}
    return fx.GraphModule(nn.ModuleDict(child), graph, f"Run{way.title()}")
