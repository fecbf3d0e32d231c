"""Networks of stages as torch modules, with other operators in place of some convolutions."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

from torch import Tensor, nn
from torchvision.models.mobilenetv2 import InvertedResidual
from torchvision.models.resnet import BasicBlock, Bottleneck, conv1x1

from rfsearch.optimize.operators import Kernel, replacement
from rfsearch.optimize.staged import BOTTLENECK, Stage, Staged


class Network(nn.Module):
    """A stem, stages, perhaps a last 1×1 convolution, and a classifier."""

    def __init__(self, net: Staged) -> None:
        super().__init__()
        self.stem = _stem(net)
        self.stages = nn.ModuleList()
        inside = net.stem.width or net.channels
        for stage in net.stages:
            self.stages.append(_stage(net, stage, inside))
            inside = stage.width * (BOTTLENECK if net.family == "bottleneck" else 1)
        self.last: nn.Module = nn.Identity()
        if net.last:
            self.last = nn.Sequential(nn.Conv2d(inside, net.last, 1, bias=False),
                                      nn.BatchNorm2d(net.last), nn.ReLU6(True))  # fmt: skip
            inside = net.last
        self.pool = nn.AdaptiveAvgPool2d(net.grid)
        units = [inside * net.grid**2, *net.hidden, net.classes]
        parts: list[nn.Module] = []
        for a, b in pairwise(units):
            parts += [nn.Linear(a, b), nn.ReLU(True)]
        self.classifier = nn.Sequential(*parts[:-1])
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to logits (N, classes)."""
        x = self.stem(x)
        for stage in self.stages:
            x = stage(x)
        return self.classifier(self.pool(self.last(x)).flatten(1))


def build(net: Staged, kernels: Mapping[str, Kernel] | None = None) -> nn.Module:
    """The network; ``kernels`` by the full name of the convolution each stands in place of."""
    network = Network(net)
    for name, kernel in (kernels or {}).items():
        path, _, leaf = name.rpartition(".")
        conv = network.get_submodule(name)
        assert isinstance(conv, nn.Conv2d), name
        network.get_submodule(path).register_module(leaf, replacement(conv, kernel))
    return network


def _stem(net: Staged) -> nn.Module:
    stem = net.stem
    if not stem.width:
        return nn.Identity()
    activation = nn.ReLU6(True) if net.family == "inverted" else nn.ReLU(True)
    conv = nn.Conv2d(net.channels, stem.width, stem.kernel, stem.stride, stem.kernel // 2,
                     bias=False)  # fmt: skip
    parts = [conv, nn.BatchNorm2d(stem.width), activation]
    return nn.Sequential(*parts, *([nn.MaxPool2d(3, 2, 1)] if stem.pool else []))


def _stage(net: Staged, stage: Stage, inside: int) -> nn.Module:
    blocks: list[nn.Module] = []
    outside = stage.width * (BOTTLENECK if net.family == "bottleneck" else 1)
    for number in range(stage.blocks):
        stride = stage.stride if number == 0 else 1
        if net.family == "inverted":
            blocks.append(InvertedResidual(inside, stage.width, stride, stage.expansion))
        elif net.family == "plain":
            blocks.append(nn.Sequential(nn.Conv2d(inside, outside, 3, 1, 1), nn.ReLU(True)))
        else:
            kind = BasicBlock if net.family == "basic" else Bottleneck
            blocks.append(kind(inside, stage.width, stride, _projection(inside, outside, stride)))
        inside = outside
    if net.family == "plain" and stage.stride > 1:
        blocks.append(nn.MaxPool2d(2, stage.stride))
    return nn.Sequential(*blocks)


def _projection(inside: int, outside: int, stride: int) -> nn.Module | None:
    if stride == 1 and inside == outside:
        return None
    return nn.Sequential(conv1x1(inside, outside, stride), nn.BatchNorm2d(outside))
