"""ResNet-18 (arXiv 1512.03385) with torchvision's names, any width, a slot in each block."""

from __future__ import annotations

from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, conv1x1

from rfsearch.backbones.slots import Slot, conv_slot

SMALLEST_IMAGE = {"published": 32, "small": 8}
_STAGES = ((64, 1), (128, 2), (256, 2), (512, 2))


class Block(BasicBlock):
    """torchvision's BasicBlock with room for an enhancer after the first convolution."""

    def __init__(self, inputs: int, planes: int, stride: int) -> None:
        shortcut = None
        if stride != 1 or inputs != planes:
            shortcut = nn.Sequential(conv1x1(inputs, planes, stride), nn.BatchNorm2d(planes))
        super().__init__(inputs, planes, stride, shortcut)
        self.enhance: nn.Module = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, planes, H / stride, W / stride)."""
        shortcut = x if self.downsample is None else self.downsample(x)
        out = self.enhance(self.relu(self.bn1(self.conv1(x))))
        return self.relu(self.bn2(self.conv2(out)) + shortcut)


class ResNet18(nn.Module):
    """Four stages of two blocks; the small stem is a 3×3 convolution without max-pooling."""

    def __init__(self, width: float, classes: int, channels: int, stem: str) -> None:
        super().__init__()
        planes = [max(8, round(full * width)) for full, _ in _STAGES]
        published = stem == "published"
        self.conv1 = nn.Conv2d(
            channels,
            planes[0],
            7 if published else 3,
            2 if published else 1,
            padding=3 if published else 1,
            bias=False,
        )
        self.bn1 = nn.BatchNorm2d(planes[0])
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1) if published else nn.Identity()
        inputs = planes[0]
        for index, (width_of_stage, (_, stride)) in enumerate(
            zip(planes, _STAGES, strict=True), start=1
        ):
            first = Block(inputs, width_of_stage, stride)
            self.add_module(
                f"layer{index}", nn.Sequential(first, Block(width_of_stage, width_of_stage, 1))
            )
            inputs = width_of_stage
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(inputs, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to logits (N, classes)."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        for stage in range(1, 5):
            x = self.get_submodule(f"layer{stage}")(x)
        return self.fc(self.avgpool(x).flatten(1))


def build(
    width: float = 1.0, classes: int = 1000, channels: int = 3, stem: str = "published"
) -> nn.Module:
    """ResNet-18; at width 1 with the published stem torchvision's weights load."""
    return ResNet18(width, classes, channels, stem)


def slots(network: nn.Module) -> tuple[Slot, ...]:
    """After the first convolution, norm and ReLU of each of the eight blocks (ours)."""
    names = (f"layer{stage}.{block}" for stage in range(1, 5) for block in range(2))
    return tuple(conv_slot(network, f"{name}.conv1", f"{name}.enhance") for name in names)
