"""Convolutions that are added in a slot as one with equal outputs: a larger kernel, one pass."""

from __future__ import annotations

import copy
from dataclasses import replace

from torch import nn

from rfsearch.exporting.subject import Subject
from rfsearch.operators.replacements import Sum, merge


def merged(subject: Subject) -> Subject:
    """The subject with one convolution wherever a slot adds several that move alike; a sum of
    others, as with a pool, stays as it is."""
    network = copy.deepcopy(subject.network)
    for name, module in list(network.named_modules()):
        if isinstance(module, Sum) and (one := _as_one(module)) is not None:
            network.set_submodule(name, one)
    return replace(subject, network=network.eval())


def _as_one(added: Sum) -> nn.Conv2d | None:
    branches = [one for one in added.operators if isinstance(one, nn.Conv2d)]
    if len(branches) < len(added.operators):
        return None
    try:
        return merge(branches)
    except ValueError:
        return None
