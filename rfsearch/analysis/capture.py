"""The front end: a module as ``torch.export``'s graph of tensor operators.

Requirements and choice. No module hooks and no names of classes: functional calls, a user's own
modules and a module called twice are all seen alike. ``torch.export`` keeps, for every operator,
the module and the line of code that called it.
"""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from rfsearch.analysis.diagnosis import why
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
        image = example.to(like.device, like.dtype)
        try:
            with _silence():
                return torch.export.export(module, (image,))
        except Exception as error:
            raise UserError(why(module, image, error)) from error


@contextmanager
def _silence() -> Iterator[None]:
    """torch.export prints graphs, logs and warns beside what it raises."""
    log = logging.getLogger("torch.fx.experimental.symbolic_shapes")
    level = log.level
    nothing = io.StringIO()
    with redirect_stdout(nothing), redirect_stderr(nothing), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        log.setLevel(logging.CRITICAL)
        try:
            yield
        finally:
            log.setLevel(level)


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
