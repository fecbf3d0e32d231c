"""MobileNetV2 (arXiv 1801.04381) as torchvision builds it, so that published weights load."""

from __future__ import annotations

from torch import nn
from torchvision.models import MobileNetV2

from rfsearch.backbones.depthwise import quicken
from rfsearch.backbones.slots import Slot, conv_slot

SMALLEST_IMAGE = {"published": 32, "small": 16}


def build(
    width: float = 1.0, classes: int = 1000, channels: int = 3, stem: str = "published"
) -> nn.Module:
    """MobileNetV2 of any width; the small stem keeps the resolution (stride 1 in place of 2)."""
    network = MobileNetV2(num_classes=classes, width_mult=width)
    first = network.features[0][0]
    stride = 2 if stem == "published" else 1
    if channels != 3 or stride != 2:
        conv = nn.Conv2d(channels, first.out_channels, 3, stride, padding=1, bias=False)
        nn.init.kaiming_normal_(conv.weight, mode="fan_out")
        network.features[0][0] = conv
    quicken(network)
    return network


def slots(network: nn.Module) -> tuple[Slot, ...]:
    """The depthwise convolutions of the 16 blocks with expansion 6 (PMPL's code)."""
    return tuple(
        conv_slot(network, f"features.{block}.conv.1.0", f"features.{block}.conv.1.3")
        for block in range(2, 18)
    )
