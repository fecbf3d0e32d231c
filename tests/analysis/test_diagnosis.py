"""Why a network cannot be read: which layer, which line, and what would be right."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torchvision.models import alexnet

from rfsearch.analysis.capture import capture
from rfsearch.errors import UserError


class Convolution(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)


class Branch(Convolution):
    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        return x if x.sum() > 0 else -x


class Number(Convolution):
    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        return x[:, :, : int(x.argmax()) % 5 + 1]


class Array(Convolution):
    def forward(self, x: Tensor) -> Tensor:
        return torch.from_numpy(self.conv(x).detach().numpy())


class Raises(Convolution):
    def forward(self, x: Tensor) -> Tensor:
        self.conv(x)
        raise ValueError("not today\nnor tomorrow")


def sequential(*parts: nn.Module) -> nn.Module:
    return nn.Sequential(*parts)


WRONG = {
    "branch": (Branch(), 32, ["cannot capture Branch", "test_diagnosis.py:", "`return x if",
                              "depends on the values of the image"]),
    "number": (Number(), 32, ["test_diagnosis.py:", "int(x.argmax())", "values of the image"]),
    "array": (Array(), 32, ["test_diagnosis.py:", ".numpy()"]),
    "raises": (Raises(), 32, ["does not take", "test_diagnosis.py:", "ValueError: not today"]),
    "too small": (alexnet(), 32, ["images of 32×32 pixels are too small for features.12 "
                                  "(MaxPool2d), given (1, 256, 1, 1)", "runs is 63×63"]),
    "vectors": (nn.Linear(10, 5), 32, ["Linear does not take a batch of images (1, 3, 32, 32)"]),
    "words": (sequential(nn.Embedding(9, 2)), 32, ["fails in 0 (Embedding)"]),
    "lines": (sequential(nn.Conv1d(3, 4, 3)), 32, ["fails in 0 (Conv1d)"]),
    "channels": (sequential(nn.Conv2d(5, 4, 3)), 32, ["fails in 0 (Conv2d)", "5 channels"]),
    "fixed": (sequential(nn.Flatten(), nn.Linear(3 * 40 * 40, 2)), 20,
              ["too small for 1 (Linear)", "runs is 40×40"]),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_mistakes(case, capfd):
    net, size, told = WRONG[case]
    with pytest.raises(UserError) as caught:
        capture(net, (size, size))
    for part in told:
        assert part in str(caught.value)
    assert len(str(caught.value).splitlines()) <= 2
    assert not any(capfd.readouterr()), "torch prints graphs beside its errors"
    assert caught.value.__cause__ is not None


def test_the_module_is_left_as_it_was():
    net = Raises().train()
    with pytest.raises(UserError):
        capture(net, (16, 16))
    assert net.training
    assert not any(part._forward_pre_hooks or part._forward_hooks for part in net.modules())
