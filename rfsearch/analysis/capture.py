"""The front end: a module as ``torch.export``'s graph of tensor operators.

Requirements and choice. No module hooks and no names of classes: functional calls, a user's own
modules and a module called twice are all seen alike. ``torch.export`` keeps, for every operator,
the module and the line of code that called it. Whoever reads the graph may take every operator
for a function of its arguments: where a tensor is written into that others can see, the graph is
captured again without writing.
"""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.export import ExportedProgram

from rfsearch.analysis.diagnosis import why
from rfsearch.errors import UserError

TORCH = Path(torch.__file__).parent

# Regions of code under another setting, which torch keeps as graphs of their own.
WRAPPERS = ("wrap_with_set_grad_enabled", "wrap_with_autocast")

# Operators that may return what they were given without saying so.
PASSING = (
    torch.ops.aten.dropout.default, torch.ops.aten.feature_dropout.default,
    torch.ops.aten.alpha_dropout.default,
)  # fmt: skip


def capture(
    module: nn.Module, image_size: tuple[int, int], channels: int = 3, batch: int = 1
) -> ExportedProgram:
    """The graph of ``module`` in eval mode on an image (batch, channels, *image_size).

    The module is left as it was. What torch.export cannot capture is a ``UserError``.
    """
    program = exported(module, image_size, channels, batch)
    inline(program.graph_module, program.graph)
    return program


def exported(
    module: nn.Module,
    image_size: tuple[int, int],
    channels: int = 3,
    batch: int = 1,
    any_batch: bool = False,
    as_function: bool = True,
) -> ExportedProgram:
    """``torch.export``'s own program of ``module`` in eval mode.

    Args:
        any_batch: leave N open; else it is ``batch``.
        as_function: capture without writing where somebody could see it.

    Raises:
        UserError: what torch.export cannot capture.
    """
    example = torch.zeros(batch, channels, *image_size)
    like = next((p for p in module.parameters() if p.is_floating_point()), example)
    image = example.to(like.device, like.dtype)
    sizes = ({0: torch.export.Dim("N")},) if any_batch else None
    with evaluating(module):
        try:
            with silence():
                program = torch.export.export(module, (image,), dynamic_shapes=sizes)
                if as_function and _writes_where_seen(program.graph):
                    program = program.run_decompositions({})
        except Exception as error:
            raise UserError(why(module, image, error)) from error
    return program


@contextmanager
def silence() -> Iterator[None]:
    """torch.export prints graphs, logs and warns beside what it raises."""
    before = logging.root.manager.disable
    nothing = io.StringIO()
    with redirect_stdout(nothing), redirect_stderr(nothing), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.disable(logging.CRITICAL)
        try:
            yield
        finally:
            logging.disable(before)


def shown(file: Path) -> str:
    """A file as it is told: from its package on, or its name alone."""
    installed = str(file).rpartition("site-packages/")
    return installed[2] if installed[1] else file.name


def _writes_where_seen(graph: fx.Graph) -> bool:
    """Whether an operator writes into a tensor that is read later under another name."""
    order = {node: i for i, node in enumerate(graph.nodes)}
    return any(
        _is_view(target) or any(order[user] > order[node] for user in target.users)
        for node in graph.nodes
        for target in _written(node)
    )


def _written(node: fx.Node) -> list[fx.Node]:
    """The tensors that an operator writes into."""
    schema = getattr(node.target, "_schema", None)
    if schema is None:
        return []
    given = dict(zip((a.name for a in schema.arguments), node.args, strict=False))
    given |= node.kwargs
    return [found for a in schema.arguments if a.alias_info and a.alias_info.is_write
            if isinstance(found := given.get(a.name), fx.Node)]  # fmt: skip


def _is_view(node: fx.Node) -> bool:
    """Whether a tensor shares its memory with another one."""
    schema = getattr(node.target, "_schema", None)
    if node.op == "placeholder" or node.target in PASSING:
        return True
    if schema is None:  # a part of several
        return node.op == "call_function" and any(map(_is_view, node.all_input_nodes))
    if _written(node):  # the tensor that was written into
        return any(map(_is_view, _written(node)))
    return any(a.alias_info for a in schema.arguments)


def inline(graph_module: fx.GraphModule, graph: fx.Graph) -> None:
    """The operators of regions under another setting in the places of the regions."""
    for node in list(graph.nodes):
        if node.op == "call_function" and getattr(node.target, "__name__", "") in WRAPPERS:
            _inline(graph_module, node)


def _inline(graph_module: fx.GraphModule, node: fx.Node) -> None:
    """The operators of a wrapped region in the place of the region."""
    at = next(i for i, a in enumerate(node.args) if getattr(a, "op", "") == "get_attr")
    inner = getattr(graph_module, str(node.args[at].target)).graph  # type: ignore[union-attr]
    given = iter(node.args[at + 1 :])
    copies: dict[fx.Node, Any] = {}
    outputs: Any = ()
    with node.graph.inserting_before(node):
        for part in inner.nodes:
            if part.op == "placeholder":
                copies[part] = next(given)
            elif part.op == "output":
                outputs = fx.node.map_arg(part.args[0], copies.__getitem__)
            else:
                copies[part] = node.graph.node_copy(part, copies.__getitem__)
    for user in list(node.users):
        user.replace_all_uses_with(outputs[user.args[1]])
        node.graph.erase_node(user)
    node.graph.erase_node(node)


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Eval mode for a while; each part gets back the mode it had."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training


def constants(program: ExportedProgram) -> dict[str, Tensor]:
    """Parameters, buffers and constants of a program by the names of their placeholders."""
    signature = program.graph_signature
    targets = {
        **signature.inputs_to_parameters,
        **signature.inputs_to_buffers,
        **signature.inputs_to_lifted_tensor_constants,
    }
    stored = {**program.constants, **program.state_dict}
    return {name: stored[target] for name, target in targets.items()}
