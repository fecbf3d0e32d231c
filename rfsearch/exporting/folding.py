"""Norms folded into the convolutions before them: the same outputs, fewer operators."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from rfsearch.analysis.follow import module_name
from rfsearch.exporting.subject import Subject
from rfsearch.setting import setting

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


@dataclass(frozen=True, kw_only=True)
class ExportSettings:
    """What `rfsearch export` may change; nothing of a run."""

    fold_bn: bool = setting(
        False, "fold BatchNorm into the convolution before it; not with --format torch"
    )
    merge: bool = setting(
        False,
        "one convolution with a larger kernel where a slot adds two (pmpl.deadline=pair in spaces "
        "such as dilations); not with --format torch",
    )


def folded(subject: Subject) -> Subject:
    """The subject with every BatchNorm that alone reads a convolution folded into it; in its place
    stands what else it ran, or nn.Identity."""
    network = copy.deepcopy(subject.network)
    modules: dict[str, Any] = dict(network.named_modules())
    for conv, norm in pairs(subject):
        fused = fuse_conv_bn_eval(modules[conv], modules[norm])
        network.set_submodule(conv, fused)
        network.set_submodule(norm, _rest(modules[norm]))
    return replace(subject, network=network.eval())


def pairs(subject: Subject) -> Iterator[tuple[str, str]]:
    """Names of convolution and norm, where each is called once and nothing else reads between."""
    called = [module_name(node) for node in subject.program.graph.nodes]
    modules = dict(subject.network.named_modules())
    for node in subject.program.graph.nodes:
        if node.target is not torch.ops.aten.batch_norm.default:
            continue
        before = node.args[0]
        if not isinstance(before, fx.Node) or len(before.users) > 1:
            continue
        conv, norm = module_name(before), module_name(node)
        if called.count(conv) == called.count(norm) == 1 and _fit(modules, conv, norm):
            yield conv, norm


def _rest(norm: nn.Module) -> nn.Module:
    """What a norm runs behind itself: timm's have their activation in them, and an enhancer may
    stand there."""
    children = OrderedDict(norm.named_children())
    return nn.Sequential(children) if children else nn.Identity()


def _fit(modules: dict[str, nn.Module], conv: str, norm: str) -> bool:
    first, second = modules.get(conv), modules.get(norm)
    whole = isinstance(second, nn.modules.batchnorm._BatchNorm) and second.running_var is not None
    return isinstance(first, CONVOLUTIONS) and whole
