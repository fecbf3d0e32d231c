"""Build the network an architecture describes."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

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
    known = {slot.name: slot for slot in slots}
    _check_slots(replacing, list(convolutions))
    _check_slots(enhancing, list(known))
    for choice in replacing:  # first: an enhancer may be the child of what stands there then
        put(network, choice.slot, replace(choice, network.get_submodule(choice.slot)))
    for choice in enhancing:
        slot = known[choice.slot]
        install(network, slot, enhance(choice, slot.channels))
    return network


def _check_slots(choices: Sequence[Choice], known: Sequence[str]) -> None:
    """All of them are there, in network order, by which reports and figures go."""
    for choice in choices:
        if choice.slot not in known:
            raise unknown("slot", choice.slot, known)
    for one, other in pairwise(choice.slot for choice in choices):
        if known.index(one) > known.index(other):
            raise UserError(
                f"slot {other!r} stands after {one!r}, but comes before it in the network; "
                "choices stand in network order"
            )


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
