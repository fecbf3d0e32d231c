"""Build the network an architecture describes."""

from __future__ import annotations

from collections.abc import Collection

from torch import nn

from rfsearch import backbones
from rfsearch.backbones.foreign import put
from rfsearch.backbones.published import start
from rfsearch.backbones.slots import install
from rfsearch.errors import UserError, unknown
from rfsearch.operators import build_operator
from rfsearch.operators.forms import FORMS
from rfsearch.operators.replaced import together
from rfsearch.operators.replacements import build_replacement
from rfsearch.spaces import Architecture, Choice


def realise(architecture: Architecture, pretrained: bool = False) -> nn.Module:
    """The network of ``architecture``, freshly initialised from torch's global generator, or with
    the published weights of its backbone.

    Law: with a mixture's weights it gives the same output, number for number, as the supernet
    with the same choice.
    """
    network = start(architecture.backbone, pretrained)
    replacing = [choice for choice in architecture.choices if choice.form == "replace"]
    enhancing = [choice for choice in architecture.choices if choice.form != "replace"]
    slots = backbones.slots_of(architecture.backbone, network) if enhancing else ()
    convolutions = backbones.convolutions(architecture.backbone, network) if replacing else ()
    for choice in replacing:  # first: an enhancer may be the child of what stands there then
        _check_slot(choice, convolutions)
        put(network, choice.slot, replace(choice, network.get_submodule(choice.slot)))
    known = {slot.name: slot for slot in slots}
    for choice in enhancing:
        _check_slot(choice, known)
        slot = known[choice.slot]
        install(network, slot, enhance(choice, slot.channels))
    return network


def _check_slot(choice: Choice, known: Collection[str]) -> None:
    if choice.slot not in known:
        raise unknown("slot", choice.slot, known)


def enhance(choice: Choice, channels: int) -> nn.Module:
    """The enhancer of one choice; nn.Identity where it is the plain layer itself."""
    if choice.form not in FORMS:
        raise unknown("form", choice.form, FORMS)
    if not choice.operators:
        raise UserError(f"slot {choice.slot!r} has no operator")
    operators = [build_operator(op.name, channels, dict(op.arguments)) for op in choice.operators]
    return FORMS[choice.form].enhancer(channels, operators)


def replace(choice: Choice, conv: nn.Module) -> nn.Module:
    """What one choice puts in the place of a convolution."""
    if not isinstance(conv, nn.Conv2d):
        raise UserError(f"slot {choice.slot!r} is a {type(conv).__name__} and no convolution")
    return together(
        [build_replacement(op.name, conv, dict(op.arguments)) for op in choice.operators]
    )
