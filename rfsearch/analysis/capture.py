"""The front end: a module as ``torch.export``'s graph of tensor operators.

Requirements and choice. No module hooks and no names of classes: functional calls, a user's own
modules and a module called twice are all seen alike. ``torch.export`` keeps, for every operator,
the module and the line of code that called it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from rfsearch.errors import UserError


def capture(
    module: nn.Module, image_size: tuple[int, int], channels: int = 3, batch: int = 1
) -> ExportedProgram:
    """The graph of ``module`` in eval mode on an image (batch, channels, *image_size).

    The module is left as it was. What torch.export cannot capture is a ``UserError``.
    """
    example = torch.zeros(batch, channels, *image_size)
    like = next((p for p in module.parameters() if p.is_floating_point()), example)
    with evaluating(module):
        try:
            return torch.export.export(module, (example.to(like.device, like.dtype),))
        except Exception as error:
            size = "×".join(map(str, image_size))
            why = next(filter(str.strip, str(error).splitlines()), "no reason given")
            raise UserError(
                f"torch.export cannot capture {type(module).__name__} at {size} pixels with "
                f"{channels} channels: {type(error).__name__}: {why.strip()}"
            ) from error


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
