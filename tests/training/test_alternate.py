"""The step on α computes what it needs and nothing of the weights."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from rfsearch import spaces
from rfsearch.backbones.supernet import supernet
from rfsearch.operators.blend import OF_ONE, Blend
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


@pytest.mark.parametrize("mixing", OF_ONE)
def test_one_alone_stands_among_others_that_are_drawn_once(descent, mixing):
    network, loss_of, seen = descent.supernet, objective(), []
    frozen, _, _, slot, *_ = network.slots
    for mixture in network.mixtures.values():
        mixture.blend = Blend(mixing)
        nn.init.ones_(mixture.gamma)
    network.keep({frozen: (1,)})

    def loss(net):
        seen.append({name: one.weights for name, one in net.mixtures.items()})
        return loss_of(net)

    torch.manual_seed(3)
    told, _ = descent.alone(slot, loss)
    assert torch.equal(torch.stack([one.pop(slot) for one in seen]), torch.eye(len(seen)))
    assert all(one.pop(frozen) is None for one in seen)
    drawn = {name: int(weights.argmax()) for name, weights in seen[0].items()}
    assert all(torch.equal(one[name], seen[0][name]) for one in seen for name in drawn)
    assert len(set(drawn.values())) > 1, "dull"
    network.keep({name: (k,) for name, k in drawn.items()})  # the same networks, made by hand
    losses = []
    for k in range(len(seen)):
        network.keep({slot: (k,)})
        losses.append(descent.loss(loss_of).detach())
    p = network.mixture(slot).alpha.detach().softmax(0)
    torch.testing.assert_close(told, (p * torch.stack(losses)).sum())
    assert all(mixture.weights is None for mixture in network.mixtures.values())
