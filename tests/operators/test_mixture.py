"""Mixtures and enhancers against their formulas, in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from rfsearch import spaces
from rfsearch.operators import build_operator
from rfsearch.operators.enhancer import PaperEnhancer, ResidualEnhancer
from rfsearch.operators.forms import FORMS

CHANNELS = 4
SPACES = [space for space in map(spaces.load_space, spaces.names()) if space.kind == "enhance"]
every_space = pytest.mark.parametrize("space", SPACES, ids=lambda space: space.name)


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def build(space, form=None):
    torch.manual_seed(0)
    operators = [build_operator(o.name, CHANNELS, dict(o.arguments)) for o in space.operators]
    mixture = FORMS[form or space.form].mixture(CHANNELS, operators).double()
    with torch.no_grad():
        for key, tensor in mixture.named_parameters():
            if "operators" not in key:
                tensor.copy_(noise(*tensor.shape, seed=len(key)))
        for key, tensor in mixture.named_buffers():
            if "running" in key:
                drawn = noise(*tensor.shape, seed=len(key))
                tensor.copy_(drawn.square() + 0.5 if "var" in key else drawn)
    return mixture


def normalised(x, norm, training):
    """(o − mean) / √(variance + ε), by the batch or by the running statistics."""
    mean, variance = x.mean((0, 2, 3)), x.var((0, 2, 3))
    if not training:
        mean, variance = norm.running_mean.numpy(), norm.running_var.numpy()
    shape = (1, -1, 1, 1)
    return (x - mean.reshape(shape)) / np.sqrt(variance.reshape(shape) + 1e-5)


def column(tensor):
    return tensor.detach().numpy().reshape(1, -1, 1, 1)


def softmax(alpha):
    powers = np.exp(alpha.detach().numpy())
    return powers / powers.sum()


def formula(mixture, x, p, training):
    """The notation of `operators.enhancer`, term by term."""
    outputs = [operator(x).detach().numpy() for operator in mixture.operators]
    if hasattr(mixture, "gamma"):
        y = x.numpy().copy()
        for k, output in enumerate(outputs):
            branch = normalised(output, mixture.norms[k], training)
            y += p[k] * (column(mixture.gamma) * branch + column(mixture.beta))
        return y
    mixed = sum(p[k] * output for k, output in enumerate(outputs))
    y = normalised(mixed, mixture.norm, training)
    y = y * column(mixture.norm.weight) + column(mixture.norm.bias)
    return y * np.clip(y + 3, 0, 6) / 6


@every_space
@pytest.mark.parametrize("form", list(FORMS))
@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
def test_a_mixture_is_its_formula(space, form, training):
    mixture = build(space, form).train(training)
    for module in mixture.operators:
        module.eval()  # the formula runs the operators once more
    x = noise(3, CHANNELS, 9, 8)
    p = softmax(mixture.alpha)
    expected = formula(mixture, x, p, training)
    np.testing.assert_allclose(mixture(x).detach().numpy(), expected, rtol=0, atol=1e-11)
    assert mixture.probabilities().sum().item() == pytest.approx(1)


@every_space
@pytest.mark.parametrize("form", list(FORMS))
def test_the_gradient_of_alpha_is_the_formulas_slope(space, form):
    mixture = build(space, form).eval()
    x, weight = noise(2, CHANNELS, 6, 6), noise(2, CHANNELS, 6, 6, seed=1)
    (gradient,) = torch.autograd.grad((mixture(x) * weight).sum(), mixture.alpha)
    alpha, step = mixture.alpha.detach().clone(), 1e-6
    for k in range(len(alpha)):
        sides = []
        for sign in (1, -1):
            moved = alpha.clone()
            moved[k] += sign * step
            y = formula(mixture, x, softmax(moved), training=False)
            sides.append(float((y * weight.numpy()).sum()))
        slope = (sides[0] - sides[1]) / (2 * step)
        assert float(gradient[k]) == pytest.approx(slope, rel=1e-5, abs=1e-5), k


@every_space
@pytest.mark.parametrize("form", list(FORMS))
def test_candidate_outputs_are_the_operators_own(space, form):
    mixture = build(space, form).eval()
    x = noise(2, CHANNELS, 9, 5)
    outputs = mixture.candidate_outputs(x)
    expected = {
        k: operator(x)
        for k, operator in enumerate(mixture.operators)
        if not isinstance(operator, nn.Identity)
    }
    assert outputs.keys() == expected.keys()
    assert all(torch.equal(outputs[k], expected[k]) for k in expected)


@every_space
def test_residual_identity_with_all_the_weight_gives_its_input(space):
    mixture = build(space, "residual").train()
    x = noise(2, CHANNELS, 5, 5)
    none = space.labels.index("identity")
    mixture.weights = torch.eye(len(space.operators), dtype=torch.float64)[none]
    assert torch.equal(mixture(x), x)
    for k in set(range(len(space.operators))) - {none}:
        mixture.weights = torch.eye(len(space.operators), dtype=torch.float64)[k]
        assert not torch.equal(mixture(x), x), space.labels[k]


@every_space
def test_identitys_term_is_an_affine_of_its_input(space):
    """What is left of y less the other's share is x times a number a channel, plus a number: the
    convolution that follows can absorb it, so identity stands for the plain layer."""
    mixture = build(space, "residual").train()
    x = noise(2, CHANNELS, 5, 5)
    none, other = space.labels.index("identity"), space.labels.index("avg 3")
    p = torch.zeros(len(space.operators), dtype=torch.float64)
    p[none], p[other] = 0.75, 0.25
    mixture.weights = p
    branch = normalised(mixture.operators[other](x).numpy(), mixture.norms[other], True)
    share = 0.25 * (column(mixture.gamma) * branch + column(mixture.beta))
    left = mixture(x).detach().numpy() - share
    for channel in range(CHANNELS):
        slope, offset = np.polyfit(x[:, channel].ravel(), left[:, channel].ravel(), 1)
        line = slope * x[:, channel].numpy() + offset
        np.testing.assert_allclose(left[:, channel], line, rtol=0, atol=1e-11)
        assert abs(slope - 1) > 1e-3, "identity has a term"


@every_space
def test_identity_weakens_no_branch(space):
    """α's gradient along "less of every branch" is that of one affine against another: with maps
    that all candidates leave as they are, no candidate is told from another."""
    mixture = build(space, "residual").eval()
    for norm in mixture.norms:
        norm.load_state_dict(mixture.norms[0].state_dict())
    if not {type(o) for o in mixture.operators} <= {nn.Identity, nn.MaxPool2d, nn.AvgPool2d}:
        pytest.skip("an operator with weights changes constant maps")
    x = noise(2, CHANNELS, 1, 1).expand(-1, -1, 6, 6).contiguous()
    (gradient,) = torch.autograd.grad((mixture(x) * noise(2, CHANNELS, 6, 6)).sum(), mixture.alpha)
    assert gradient.abs().max() < 1e-12


@every_space
@pytest.mark.parametrize("form", list(FORMS))
def test_a_frozen_mixture_runs_its_operator_alone(space, form):
    mixture = build(space, form)
    x = noise(2, CHANNELS, 7, 7)
    for kept in range(len(space.operators)):
        mixture.keep((kept,))
        assert not mixture.alpha.requires_grad
        calls = []
        hooks = [
            module.register_forward_hook(lambda *_, k=k, calls=calls: calls.append(k))
            for k, module in enumerate(mixture.operators)
        ]
        mixture(x)
        for hook in hooks:
            hook.remove()
        plain = form == "residual" and isinstance(mixture.operators[kept], nn.Identity)
        assert calls == ([] if plain else [kept])
    mixture.keep(())
    assert mixture.alpha.requires_grad
    assert mixture(x).requires_grad


@every_space
@pytest.mark.parametrize("form", list(FORMS))
def test_the_other_candidates_statistics_rest_while_one_is_kept(space, form):
    mixture = build(space, form).train()
    kept = space.labels.index("max 3")
    before = {key: value.clone() for key, value in mixture.state_dict().items()}
    mixture.keep((kept,))
    mixture(noise(2, CHANNELS, 7, 7))
    moved = {k for k, v in mixture.state_dict().items() if not torch.equal(v, before[k])}
    moved = {key for key in moved if "num_batches" not in key}
    place = f"norms.{kept}" if form == "residual" else "norm"
    assert moved == {f"{place}.running_mean", f"{place}.running_var"}


def test_weights_of_a_running_mean_move_towards_the_batch():
    mixture = build(SPACES[-1], "residual").train()
    k = SPACES[-1].labels.index("avg 3")
    x = noise(3, CHANNELS, 6, 6)
    output = mixture.operators[k](x)
    norm = mixture.norms[k]
    mean = 0.9 * norm.running_mean + 0.1 * output.mean((0, 2, 3))
    variance = 0.9 * norm.running_var + 0.1 * output.var((0, 2, 3), correction=1)
    mixture(x)
    assert torch.allclose(norm.running_mean, mean, rtol=1e-12, atol=1e-12)
    assert torch.allclose(norm.running_var, variance, rtol=1e-12, atol=1e-12)


def test_a_new_residual_enhancer_changes_nothing():
    x = noise(2, CHANNELS, 5, 5)
    enhancer = ResidualEnhancer(CHANNELS, [nn.MaxPool2d(3, 1, 1)]).double()
    for training in (True, False):
        assert torch.equal(enhancer.train(training)(x), x)
    assert isinstance(FORMS["residual"].enhancer(CHANNELS, [nn.Identity()]), nn.Identity)


def test_the_papers_identity_changes_the_network():
    x = noise(2, CHANNELS, 5, 5)
    enhancer = FORMS["paper"].enhancer(CHANNELS, [nn.Identity()])
    assert isinstance(enhancer, PaperEnhancer)
    assert not torch.allclose(enhancer.double()(x), x, atol=0.1)


@pytest.mark.parametrize("form", list(FORMS))
def test_a_kept_pair_is_an_unweighted_sum(form):
    space = SPACES[-1]
    mixture = build(space, form).eval()
    x = noise(2, CHANNELS, 7, 7)
    p = np.zeros(len(space.operators))
    p[[1, 5]] = 1
    mixture.keep((5, 1))
    expected = formula(mixture, x, p, training=False)
    np.testing.assert_allclose(mixture(x).detach().numpy(), expected, rtol=0, atol=1e-11)


@pytest.mark.parametrize("form", list(FORMS))
def test_one_candidate_alone(form):
    space = spaces.Space("one", form, (spaces.Operator("avg_pool", (("kernel", 3),)),))
    mixture = build(space).eval()
    x = noise(2, CHANNELS, 5, 5)
    expected = formula(mixture, x, [1.0], training=False)
    np.testing.assert_allclose(mixture(x).detach().numpy(), expected, rtol=0, atol=1e-11)
