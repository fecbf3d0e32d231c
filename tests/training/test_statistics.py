"""BatchNorm's running statistics: still while alpha moves, estimated before anything is scored."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from rfsearch.training.statistics import estimate, still


def network():
    torch.manual_seed(0)
    layers = [nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3, momentum=0.1), nn.ReLU()]
    return nn.Sequential(*layers, nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, momentum=0.3)).double()


def batches(count=4):
    generator = torch.Generator().manual_seed(1)
    for index in range(count):
        yield torch.randn(5, 2, 8, 8, generator=generator, dtype=torch.float64) * (index + 1)


def buffers(model):
    return {key: value.clone() for key, value in model.named_buffers()}


@pytest.mark.parametrize("training", [True, False])
def test_estimate_is_the_plain_mean_over_batches(training):
    model = network().train(training)
    model(torch.full((2, 2, 8, 8), 9.0, dtype=torch.float64) + torch.rand(2, 2, 8, 8))  # old ones
    weights = {key: value.clone() for key, value in model.named_parameters()}
    seen = {1: [], 4: []}
    hooks = [
        model[i].register_forward_hook(lambda _, x, __, i=i: seen[i].append(x[0])) for i in seen
    ]
    estimate(model, batches())
    for hook in hooks:
        hook.remove()
    for index, inputs in seen.items():
        means = torch.stack([x.mean((0, 2, 3)) for x in inputs])
        variances = torch.stack([x.var((0, 2, 3), correction=1) for x in inputs])
        assert len(inputs) == 4
        assert torch.allclose(model[index].running_mean, means.mean(0), rtol=1e-12, atol=1e-12)
        assert torch.allclose(model[index].running_var, variances.mean(0), rtol=1e-12, atol=1e-12)
    assert (model[1].momentum, model[4].momentum) == (0.1, 0.3)
    assert model.training is training
    assert all(torch.equal(value, weights[key]) for key, value in model.named_parameters())


def test_still_leaves_running_statistics_and_uses_the_batchs_own():
    model = network().train()
    before, x = buffers(model), next(batches())
    with still(model):
        inside = model(x)
    assert all(torch.equal(value, before[key]) for key, value in model.named_buffers())
    assert torch.equal(model(x), inside)
    assert not torch.equal(model[1].running_mean, before["1.running_mean"]), "moves again outside"


def test_still_ends_after_an_error():
    model = network().train()
    with pytest.raises(RuntimeError, match="stop"), still(model):
        raise RuntimeError("stop")
    before = buffers(model)
    model(next(batches()))
    assert not torch.equal(model[1].running_mean, before["1.running_mean"])


def test_gradients_flow_through_still():
    model = network().train()
    with still(model):
        model(next(batches())).square().sum().backward()
    assert model[0].weight.grad.abs().max() > 0
