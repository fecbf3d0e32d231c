"""Depthwise convolutions on small maps against torch's own."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torchvision.models import MobileNetV2

from rfsearch.backbones.depthwise import DepthwiseConv2d, quicken


@given(st.integers(1, 5), st.integers(1, 5), st.integers(1, 4), st.booleans(), st.booleans())
def test_equals_the_convolution_it_stands_for(height, width, channels, training, last):
    torch.manual_seed(height * 5 + width)
    layout = torch.channels_last if last else torch.contiguous_format
    plain = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False).double()
    network = nn.Sequential(plain).train(training)
    x = torch.randn(2, channels, height, width, dtype=torch.float64).to(memory_format=layout)
    direction = torch.randn_like(x)

    expected, expected_gradients = _run(plain, x, direction)
    quicken(network)
    assert isinstance(network[0], DepthwiseConv2d)
    found, gradients = _run(network, x, direction)

    assert torch.equal(found, expected)
    for one, other in zip(gradients, expected_gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


def _run(module, x, direction):
    image = x.clone().requires_grad_()
    y = module(image)
    return y, torch.autograd.grad((y * direction).sum(), [image, *module.parameters()])


@pytest.mark.parametrize(
    "conv",
    [
        nn.Conv2d(4, 4, 3, padding=1, bias=False),
        nn.Conv2d(4, 8, 3, padding=1, groups=4, bias=False),
        nn.Conv2d(4, 4, 3, stride=2, padding=1, groups=4, bias=False),
        nn.Conv2d(4, 4, 3, padding=2, dilation=2, groups=4, bias=False),
        nn.Conv2d(4, 4, 5, padding=1, groups=4, bias=False),
        nn.Conv2d(4, 4, 3, padding=1, groups=4, bias=True),
        nn.Conv2d(4, 4, 3, padding=1, groups=4, bias=False, padding_mode="circular"),
    ],
    ids=str,
)
def test_any_other_convolution_stays(conv):
    network = nn.Sequential(conv)
    quicken(network)
    assert network[0] is conv


def test_a_network_keeps_its_names_its_weights_and_its_random_numbers():
    torch.manual_seed(0)
    network = MobileNetV2(num_classes=10, width_mult=0.35)
    before, state = dict(network.state_dict()), torch.get_rng_state()
    quicken(network)
    after = network.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert torch.equal(torch.get_rng_state(), state)
    assert sum(isinstance(module, DepthwiseConv2d) for module in network.modules()) == 13
