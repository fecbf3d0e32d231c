"""Published weights, as far as they lie on this machine, in networks that `backbones.build` makes.

What is kept is every tensor of the published network but those of its head where the number of
classes differs. Images of one channel are read as three that are alike: the kernels of the first
convolution are summed over their inputs, which gives the same outputs.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

import torch
from torch import Tensor, nn

from rfsearch import backbones
from rfsearch.backbones import foreign
from rfsearch.backbones.sources import Wish, load
from rfsearch.errors import UserError
from rfsearch.spaces import Backbone

TOLD = 3
"""Tensors that do not fit and are told of."""


def start(backbone: Backbone, pretrained: bool = False) -> nn.Module:
    """The plain network at its start: weights from torch's global generator, or published ones.

    Both draw the same from the generator.
    """
    network = backbones.build(backbone)
    if pretrained:
        network.load_state_dict({**network.state_dict(), **weights(backbone)})
    return network


@lru_cache(1)
def weights(backbone: Backbone) -> Mapping[str, Tensor]:
    """The published tensors by the names that the backbone has for them.

    Raises:
        UserError: there are none, they are not on this machine, or they do not fit.
    """
    name = backbone.name
    if name in backbones.BACKBONES and name not in backbones.PUBLISHED:
        known = ", ".join(backbones.PUBLISHED)
        raise UserError(f"{name} has no published weights; {known} have some")
    ours = name in backbones.BACKBONES
    size = None if ours else foreign.wish(backbone).image_size
    with torch.random.fork_rng(devices=[]):
        theirs = load(backbones.PUBLISHED.get(name, name), True, Wish(image_size=size)).module
        network = backbones.build(backbone)
    head = _last_linear(network) if ours else foreign.read(backbone).anatomy.head
    found, wanted = theirs.state_dict(), network.state_dict()
    if head and len(found.get(f"{head}.weight", ())) != len(wanted[f"{head}.weight"]):
        found = {k: v for k, v in found.items() if not k.startswith(f"{head}.")}
        wanted = {k: v for k, v in wanted.items() if not k.startswith(f"{head}.")}
    _fit_channels(name, network, found, wanted)
    _check(name, found, wanted)
    return found


def _last_linear(network: nn.Module) -> str:
    return [name for name, one in network.named_modules() if isinstance(one, nn.Linear)][-1]


def _fit_channels(
    name: str, network: nn.Module, found: dict[str, Tensor], wanted: Mapping[str, Tensor]
) -> None:
    first = foreign.first_convolution(network)
    key = f"{first[0]}.weight" if first else ""
    if key not in found or found[key].shape[1] == wanted[key].shape[1]:
        return
    theirs, ours = found[key].shape[1], wanted[key].shape[1]
    if ours != 1:
        raise UserError(
            f"the published weights of {name} are for {theirs} channels and data have {ours}; "
            "--pretrained takes one channel or as many as were published"
        )
    found[key] = found[key].sum(1, keepdim=True)


def _check(name: str, found: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
    """All tensors of the network are among the published ones, in their shapes, and no others."""
    wrong = [_wrong(key, found.get(key), wanted.get(key))
             for key in dict.fromkeys([*wanted, *found])
             if _shape(found.get(key)) != _shape(wanted.get(key))]  # fmt: skip
    if not wrong:
        return
    more = f"; and {len(wrong) - TOLD} more" if len(wrong) > TOLD else ""
    hint = (
        ". Published are those of plan.width=1 and backbone.stem=published"
        if name in backbones.BACKBONES else ""
    )  # fmt: skip
    raise UserError(
        f"the published weights of {name} do not fit: {'; '.join(wrong[:TOLD])}{more}{hint}"
    )


def _wrong(key: str, theirs: Tensor | None, ours: Tensor | None) -> str:
    return f"{key} is {_shape(theirs)} there and {_shape(ours)} here"


def _shape(tensor: Tensor | None) -> str:
    return "missing" if tensor is None else "×".join(map(str, tensor.shape)) or "a number"
