"""A backbone with a mixture of all candidates in every slot."""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, TypeVar

from torch import Tensor, nn

from rfsearch import backbones
from rfsearch.backbones.foreign import put
from rfsearch.backbones.plain import plain
from rfsearch.backbones.published import start
from rfsearch.backbones.slots import Slot, install
from rfsearch.errors import UserError, unknown
from rfsearch.operators import build_operator
from rfsearch.operators.blend import Blend, one_draw
from rfsearch.operators.forms import FORMS
from rfsearch.operators.mixture import Mixture, ResidualMixture
from rfsearch.operators.replaced import ReplaceMixture, Shadow
from rfsearch.operators.replacements import build_replacement
from rfsearch.spaces import Backbone, Choice, Space

Added = TypeVar("Added", bound=nn.Module)

FEW = 20
"""Slots that are all listed where a name is wrong; of more the nearest."""
FEW_OPEN = 3
"""Slots that are named where some are open still."""


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
        made = {slot: self._mixture(slot) for slot in slots}
        if space.kind == "enhance or replace":
            for slot, mixture in made.items():  # first: a mixture may be a child of one of them
                conv, operators, normed = self._replacements(slot)
                shadow = Shadow(mixture, conv, operators, slot.channels, normed)
                put(network, slot.name, _beside(conv, shadow))
        for slot, mixture in made.items():
            install(network, slot, mixture)

    def _mixture(self, slot: Slot) -> Mixture:
        """Of all candidates; those that replace are the plain layer behind the convolution."""
        return _beside(self.network.get_submodule(slot.name), self._mixed(slot))

    def _mixed(self, slot: Slot) -> Mixture:
        if self.space.form == "replace":
            _, operators, normed = self._replacements(slot)
            return ReplaceMixture(slot.channels, operators, normed)
        candidates = [
            build_operator(operator.name, slot.channels, dict(operator.arguments))
            for operator in self.space.enhancing
        ]
        unchanged = [nn.Identity() for _ in self.space.replacements]
        return FORMS[self.space.form].mixture(slot.channels, [*candidates, *unchanged])

    def _replacements(self, slot: Slot) -> tuple[nn.Conv2d, list[nn.Module], bool]:
        """The convolution, what may stand in its place, and whether a norm follows: that is why
        it has no bias."""
        conv = self.network.get_submodule(slot.name)
        assert isinstance(conv, nn.Conv2d), slot.name
        operators = [
            build_replacement(operator.name, conv, dict(operator.arguments))
            for operator in self.space.replacements
        ]
        return conv, operators, conv.bias is None

    def forward(self, x: Tensor) -> Any:
        """Images (N, C, H, W) to what the network makes of them: of the mixtures or, where they
        draw evenly, of one network that is drawn for this pass."""
        with one_draw(m for m in self.mixtures.values() if _drawn_evenly(m)):
            return self.network(x)

    def mixture(self, slot: str) -> Mixture:
        """The mixture at the slot."""
        if slot not in self.slots:
            raise unknown("slot", slot, self.slots)
        module = self.network.get_submodule(self.slots[slot].place)
        assert isinstance(module, Mixture), slot
        return module

    def parts(self, slot: str) -> list[nn.Module]:
        """The modules that compute what the slot's α says: its mixture, and where the space both
        enhances and replaces also what stands for the convolution."""
        mixture = self.mixture(slot)
        shadows = [m for m in self.modules() if isinstance(m, Shadow) and m.owner is mixture]
        return [mixture, *shadows]

    @property
    def mixtures(self) -> dict[str, Mixture]:
        """Slot name → mixture, in network order."""
        return {name: self.mixture(name) for name in self.slots}

    @property
    def open_slots(self) -> list[str]:
        """Names of the slots that mix their candidates still, in network order."""
        return [name for name, mixture in self.mixtures.items() if not mixture.kept]

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

    def begin_plain(self) -> None:
        """Let the mixtures of the residual form add nothing, until γ is trained."""
        for mixture in self.mixtures.values():
            if isinstance(mixture, ResidualMixture):
                nn.init.zeros_(mixture.gamma)

    def choices(self) -> tuple[Choice, ...]:
        """What every slot keeps; each must have been told."""
        found = []
        for name, mixture in self.mixtures.items():
            assert mixture.kept, f"slot {name} is still open"
            operators = tuple(self.space.operators[k] for k in mixture.kept)
            found.append(Choice(name, self.space.form_of(mixture.kept[0]), operators))
        return tuple(found)

    def export(self) -> nn.Module:
        """The found network as a plain module: the class and the module names of the network that
        was given, an operator at every slot, a copy of the weights, no α and nothing of this
        package but an operator that torch's own modules cannot make up (`plain`).

        In evaluation it gives the supernet's outputs, number for number. Its BatchNorms have the
        running statistics of the supernet: those of a mixture, unless weight steps were taken
        since the last slot froze. Train on, or estimate them again, before it is judged.

        Raises:
            UserError: slots are open.
        """
        if left := self.open_slots:
            some = ", ".join(left[:FEW_OPEN]) + (", …" if len(left) > FEW_OPEN else "")
            raise UserError(
                f"{len(left)} of {len(self.slots)} slots are open: {some}; finish() of the search "
                "closes them, or keep({slot: [operator]})"
            )
        return plain(self.extract(), self.slots.values())

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
        for part in self.network.modules():
            if isinstance(part, Shadow):
                memo[id(part)] = copy.deepcopy(part.extract()).train(part.training)
        network = copy.deepcopy(self.network, memo)
        for name, enhancer in enhancers.items():
            install(network, self.slots[name], enhancer)
        return network


def _drawn_evenly(mixture: Mixture) -> bool:
    return isinstance(mixture.blend, Blend) and mixture.blend.mixing == "even"


def _beside(conv: nn.Module, added: Added) -> Added:
    """With the device, the type and the mode of the convolution."""
    like = next(conv.parameters(), None)
    if like is not None:
        added.to(like.device, like.dtype)
    added.train(conv.training)
    return added


def supernet(
    backbone: Backbone,
    space: Space,
    *,
    include: Sequence[str] | None = None,
    exclude: Sequence[str] | None = None,
    pretrained: bool = False,
) -> Supernet:
    """The supernet of a named backbone, freshly initialised from torch's global generator.

    With published weights it begins as the published network: γ of every mixture is 0, and α has
    no gradient until weight steps have moved it.
    """
    network = start(backbone, pretrained)
    slots = backbones.slots_of(backbone, network, space)
    whole = Supernet(network, choose_slots(slots, include, exclude), space)
    if pretrained:
        whole.begin_plain()
    return whole


def choose_slots(
    slots: Sequence[Slot], include: Sequence[str] | None, exclude: Sequence[str] | None
) -> tuple[Slot, ...]:
    """The slots named by ``include`` (all without it) less ``exclude``, in network order."""
    known = {slot.name: slot for slot in slots}
    for name in (*(include or ()), *(exclude or ())):
        if name not in known:
            raise _no_slot(name, known)
    chosen = [slot for slot in slots if slot.name in (include or known)]
    left = tuple(slot for slot in chosen if slot.name not in (exclude or ()))
    if not left:
        raise UserError("no slot is left: exclude names every slot that is included")
    return left


def _no_slot(name: str, known: Collection[str]) -> UserError:
    if len(known) <= FEW:
        return unknown("slot", name, known)
    near = get_close_matches(name, known, n=5, cutoff=0.3)
    nearest = f"nearest: {', '.join(near)}; " if near else ""
    listed = (
        f"`rfsearch spaces --backbone MODEL`, or `rfsearch.supernet(module).slots`, lists all "
        f"{len(known)}"
    )
    return UserError(f"unknown slot {name!r}; {nearest}{listed}")
