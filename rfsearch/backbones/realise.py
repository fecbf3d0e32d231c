"""Build the network an architecture describes."""

from __future__ import annotations

from torch import nn

from rfsearch import backbones
from rfsearch.backbones.published import start
from rfsearch.backbones.slots import install
from rfsearch.errors import UserError, unknown
from rfsearch.operators import build_operator
from rfsearch.operators.forms import FORMS
from rfsearch.spaces import Architecture, Choice


def realise(architecture: Architecture, pretrained: bool = False) -> nn.Module:
    """The network of ``architecture``, freshly initialised from torch's global generator, or with
    the published weights of its backbone.

    Law: with a mixture's weights it gives the same output, number for number, as the supernet
    with the same choice.
    """
    network = start(architecture.backbone, pretrained)
    known = {slot.name: slot for slot in backbones.slots_of(architecture.backbone, network)}
    for choice in architecture.choices:
        if choice.slot not in known:
            raise unknown("slot", choice.slot, known)
        slot = known[choice.slot]
        install(network, slot, enhance(choice, slot.channels))
    return network


def enhance(choice: Choice, channels: int) -> nn.Module:
    """The enhancer of one choice; nn.Identity where it is the plain layer itself."""
    if choice.form not in FORMS:
        raise unknown("form", choice.form, FORMS)
    if not choice.operators:
        raise UserError(f"slot {choice.slot!r} has no operator")
    operators = [build_operator(op.name, channels, dict(op.arguments)) for op in choice.operators]
    return FORMS[choice.form].enhancer(channels, operators)
