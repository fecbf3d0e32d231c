"""A backbone with a mixture of all candidates in every slot."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from rfsearch import backbones
from rfsearch.backbones.slots import Slot, install
from rfsearch.errors import UserError, unknown
from rfsearch.operators import build_operator
from rfsearch.operators.forms import FORMS
from rfsearch.operators.mixture import Mixture
from rfsearch.spaces import Backbone, Choice, Space


class Supernet(nn.Module):
    """All networks of a space in one module that shares their weights.

    Args:
        network: the backbone; it is changed in place.
        slots: where the mixtures go, in network order.
        space: the candidates and the form in which they stand at a slot.
    """

    def __init__(self, network: nn.Module, slots: Sequence[Slot], space: Space) -> None:
        super().__init__()
        self.network = network
        self.space = space
        self.slots = {slot.name: slot for slot in slots}
        for slot in slots:
            candidates = [
                build_operator(operator.name, slot.channels, dict(operator.arguments))
                for operator in space.operators
            ]
            install(network, slot, FORMS[space.form].mixture(slot.channels, candidates))

    def forward(self, x: Tensor) -> Tensor:
        """Images (N, C, H, W) to logits (N, classes)."""
        return self.network(x)

    def mixture(self, slot: str) -> Mixture:
        """The mixture at the slot."""
        if slot not in self.slots:
            raise unknown("slot", slot, self.slots)
        module = self.network.get_submodule(self.slots[slot].place)
        assert isinstance(module, Mixture), slot
        return module

    @property
    def mixtures(self) -> dict[str, Mixture]:
        """Slot name → mixture, in network order."""
        return {name: self.mixture(name) for name in self.slots}

    def alphas(self) -> dict[str, nn.Parameter]:
        """Slot name → α, (K,)."""
        return {name: mixture.alpha for name, mixture in self.mixtures.items()}

    def weights(self) -> list[nn.Parameter]:
        """Every parameter that is not an α."""
        alphas = {id(alpha) for alpha in self.alphas().values()}
        return [parameter for parameter in self.parameters() if id(parameter) not in alphas]

    def keep(self, kept: Mapping[str, Sequence[int]]) -> None:
        """Slot name → candidates that stay; an empty sequence opens the slot again."""
        for name, indices in kept.items():
            self.mixture(name).keep(indices)

    def choices(self) -> tuple[Choice, ...]:
        """What every slot keeps; each must have been told."""
        found = []
        for name, mixture in self.mixtures.items():
            assert mixture.kept, f"slot {name} is still open"
            operators = tuple(self.space.operators[k] for k in mixture.kept)
            found.append(Choice(name, self.space.form, operators))
        return tuple(found)

    def extract(self) -> nn.Module:
        """The plain network of the kept choices with a copy of the weights (no α, no mixture)."""
        mixtures = self.mixtures
        enhancers = {
            name: copy.deepcopy(mixture.extract()).train(mixture.training)
            for name, mixture in mixtures.items()
        }
        # deepcopy takes what its memo holds for a copy already made: the candidates that go, most
        # of a supernet, are not copied.
        memo = {id(mixture): enhancers[name] for name, mixture in mixtures.items()}
        network = copy.deepcopy(self.network, memo)
        for name, enhancer in enhancers.items():
            install(network, self.slots[name], enhancer)
        return network


def supernet(
    backbone: Backbone,
    space: Space,
    *,
    include: Sequence[str] | None = None,
    exclude: Sequence[str] | None = None,
) -> Supernet:
    """The supernet of a named backbone, freshly initialised from torch's global generator."""
    network = backbones.build(backbone)
    slots = backbones.entry(backbone.name).slots(network)
    return Supernet(network, choose_slots(slots, include, exclude), space)


def choose_slots(
    slots: Sequence[Slot], include: Sequence[str] | None, exclude: Sequence[str] | None
) -> tuple[Slot, ...]:
    """The slots named by ``include`` (all without it) less ``exclude``, in network order."""
    known = {slot.name: slot for slot in slots}
    for name in (*(include or ()), *(exclude or ())):
        if name not in known:
            raise unknown("slot", name, known)
    chosen = [slot for slot in slots if slot.name in (include or known)]
    left = tuple(slot for slot in chosen if slot.name not in (exclude or ()))
    if not left:
        raise UserError("no slot is left: slots.exclude names every slot that is included")
    return left
