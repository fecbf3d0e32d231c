"""The step on α computes what it needs and nothing of the weights."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from rfsearch import spaces
from rfsearch.backbones.supernet import supernet
from rfsearch.spaces import Backbone
from rfsearch.training.alternate import AlphaDescent


@pytest.fixture
def descent():
    torch.manual_seed(0)
    arguments = (("width", 0.25), ("classes", 3), ("channels", 3), ("stem", "small"))
    network = supernet(Backbone("mobilenetv2", arguments), spaces.load_space("pooling"))
    for module in network.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0  # the same network twice
    return AlphaDescent(network.train(), 0.1, (0.5, 0.999), 0.0)


def objective():
    images, labels = torch.randn(4, 3, 16, 16), torch.tensor([0, 1, 2, 1])
    return lambda network: F.cross_entropy(network(images), labels)


def test_alphas_gradient_is_that_of_the_whole_graph(descent):
    loss_of, network = objective(), descent.supernet
    slot = next(iter(network.slots))
    network.keep({slot: (1,)})
    frozen = network.weights()[0].requires_grad_(False)
    before = [parameter.requires_grad for parameter in network.parameters()]
    loss = descent.loss(loss_of)
    alphas = {s: alpha for s, alpha in network.alphas().items() if s != slot}
    expected = torch.autograd.grad(loss, list(alphas.values()))
    told, found = descent.gradients(loss_of)
    assert torch.equal(told, loss.detach())
    assert list(found) == list(alphas)
    assert all(torch.equal(a, b) for a, b in zip(found.values(), expected, strict=True))
    assert [parameter.requires_grad for parameter in network.parameters()] == before
    assert not frozen.requires_grad
    assert all(parameter.grad is None for parameter in network.parameters())


def test_nothing_is_written_down_before_the_first_open_slot(descent):
    seen = {}
    network = descent.supernet
    for name, mixture in network.mixtures.items():
        mixture.register_forward_pre_hook(
            lambda _, given, name=name: seen.update({name: given[0].requires_grad})
        )
    first, second, *rest = network.slots
    network.keep({first: (1,)})
    descent.gradients(objective())
    assert not seen[first]
    assert not seen[second]
    assert all(seen[name] for name in rest)


def test_the_gradient_of_one_alone_is_that_of_the_expected_loss(descent):
    loss_of, network = objective(), descent.supernet
    slot = list(network.slots)[3]
    mixture = network.mixture(slot)
    with torch.no_grad():
        mixture.gamma.fill_(1.0)
        mixture.alpha.copy_(torch.linspace(-1, 1, len(mixture.alpha)))
    losses = []
    for k in range(len(mixture.alpha)):
        mixture.keep((k,))
        losses.append(descent.loss(loss_of).detach())
    mixture.keep(())
    expected = (mixture.alpha.softmax(0) * torch.stack(losses)).sum()
    (gradient,) = torch.autograd.grad(expected, [mixture.alpha])
    told, found = descent.alone(slot, loss_of)
    assert list(found) == [slot]
    assert max(losses) - min(losses) > 1e-3, "dull"
    torch.testing.assert_close(told, expected.detach(), rtol=1e-6, atol=0)
    torch.testing.assert_close(found[slot], gradient, rtol=1e-4, atol=1e-7)
    assert mixture.weights is None
    assert all(parameter.grad is None for parameter in network.parameters())
