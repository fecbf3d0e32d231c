"""Ways to mix for ablations, against sums written out in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from rfsearch.operators import fused
from rfsearch.operators.blend import Blend
from rfsearch.operators.forms import FORMS

CHANNELS, NUM = 3, 4
every_form = pytest.mark.parametrize("form", list(FORMS))


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def build(form, blend=None):
    operators = [
        nn.Identity(),
        nn.MaxPool2d(3, 1, 1),
        nn.AvgPool2d(3, 1, 1),
        nn.MaxPool2d(5, 1, 2),
    ]
    mixture = FORMS[form].mixture(CHANNELS, operators).double()
    with torch.no_grad():
        for number, tensor in enumerate(mixture.parameters()):
            tensor.copy_(noise(*tensor.shape, seed=number))
    mixture.blend = blend
    return mixture


def normal(x):
    mean, var = x.mean((0, 2, 3), keepdims=True), x.var((0, 2, 3), keepdims=True)
    return (x - mean) / np.sqrt(var + 1e-5)


def column(tensor):
    return tensor.detach().numpy().reshape(1, -1, 1, 1)


def formula(mixture, x, weights, norms=True):
    """{candidate: weight} → the form's sum, by the batch's statistics."""
    outputs = {k: mixture.operators[k](x).numpy() for k in weights}
    if hasattr(mixture, "gamma"):
        gamma, beta = column(mixture.gamma), column(mixture.beta)
        if not norms:
            return x.numpy() + gamma * normal(sum(weights[k] * outputs[k] for k in weights)) + beta
        return x.numpy() + sum(weights[k] * (gamma * normal(outputs[k]) + beta) for k in weights)
    y = normal(sum(weights[k] * outputs[k] for k in weights))
    y = y * column(mixture.norm.weight) + column(mixture.norm.bias)
    return y * np.clip(y + 3, 0, 6) / 6


def softmax(values):
    powers = np.exp(np.asarray(values) - np.max(values))
    return powers / powers.sum()


@every_form
def test_a_subset_is_the_sum_over_what_was_drawn(form):
    mixture, x = build(form, Blend("subset", 2)), noise(2, CHANNELS, 6, 5)
    alpha, seen = mixture.alpha.detach().numpy(), set()
    for seed in range(12):
        torch.manual_seed(seed)
        drawn, _ = mixture.blend.draw(mixture.alpha)
        torch.manual_seed(seed)
        weights = dict(zip(drawn, softmax(alpha[drawn]), strict=True))
        expected = formula(mixture, x, weights)
        np.testing.assert_allclose(mixture(x).detach().numpy(), expected, rtol=0, atol=1e-11)
        seen.add(tuple(drawn))
    assert len(seen) > 3
    assert {k for pair in seen for k in pair} == set(range(NUM))


@every_form
def test_a_subset_of_all_is_the_mixture(form):
    x = noise(2, CHANNELS, 6, 5)
    with torch.no_grad():
        ours, usual = build(form, Blend("subset", 99))(x), build(form)(x)
    torch.testing.assert_close(ours, usual, rtol=0, atol=1e-11)


@every_form
def test_a_sampled_candidate_stands_alone_and_has_the_slope_of_its_p(form):
    mixture, x, wanted = (build(form, Blend("sampled")), noise(2, CHANNELS, 6, 5),
                          noise(2, CHANNELS, 6, 5, seed=9))  # fmt: skip
    alpha = mixture.alpha.detach().numpy()
    torch.manual_seed(4)
    g = -torch.empty(NUM).exponential_().log().numpy()
    k = int(np.argmax(alpha + g))
    torch.manual_seed(4)
    y = mixture(x)
    np.testing.assert_allclose(y.detach().numpy(), formula(mixture, x, {k: 1.0}), atol=1e-11)
    (found,) = torch.autograd.grad((y * wanted).sum(), mixture.alpha)
    step = 1e-6
    sides = [(formula(mixture, x, {k: 1 + s}) * wanted.numpy()).sum() for s in (step, -step)]
    slope = (sides[0] - sides[1]) / (2 * step)
    p = softmax(alpha + g)
    expected = [slope * p[k] * ((i == k) - p[i]) for i in range(NUM)]
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-5, atol=1e-8)


@every_form
def test_an_even_candidate_runs_alone_as_often_as_any_other(form):
    mixture, x, seen = build(form, Blend("even")), noise(2, CHANNELS, 6, 5), np.zeros(NUM)
    with torch.no_grad():
        mixture.alpha.copy_(torch.tensor([9.0, 0.0, 0.0, -9.0]))
    kept = build(form)
    torch.manual_seed(0)
    for _ in range(2000):
        (k,), weights = mixture.blend.draw(mixture.alpha)
        assert weights == [1]
        seen[k] += 1
    np.testing.assert_allclose(seen / seen.sum(), 1 / NUM, atol=0.03)
    for seed in range(6):
        torch.manual_seed(seed)
        (k,), _ = mixture.blend.draw(mixture.alpha)
        torch.manual_seed(seed)
        kept.keep((k,))
        assert torch.equal(mixture(x), kept(x))


def test_a_share_of_the_even_draws_is_plain():
    mixture, seen = build("residual", Blend("even", plain=2, plain_share=0.6)), np.zeros(NUM)
    torch.manual_seed(0)
    for _ in range(4000):
        (k,), _ = mixture.blend.draw(mixture.alpha)
        seen[k] += 1
    wanted = np.full(NUM, 0.4 / NUM)
    wanted[2] += 0.6
    np.testing.assert_allclose(seen / seen.sum(), wanted, atol=0.03)


def test_candidates_are_sampled_as_often_as_p_says():
    mixture = build("residual", Blend("sampled"))
    torch.manual_seed(0)
    drawn = [mixture.blend.draw(mixture.alpha)[0][0] for _ in range(4000)]
    shares = np.bincount(drawn, minlength=NUM) / len(drawn)
    np.testing.assert_allclose(shares, softmax(mixture.alpha.detach().numpy()), atol=0.03)


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
def test_one_norm_stands_over_the_sum(training):
    mixture = build("residual", Blend(norms=False)).train(training)
    x = noise(2, CHANNELS, 6, 5)
    weights = dict(enumerate(softmax(mixture.alpha.detach().numpy())))
    expected = formula(mixture, x, weights, norms=False)
    np.testing.assert_allclose(mixture(x).detach().numpy(), expected, rtol=0, atol=1e-11)


@every_form
def test_a_kept_or_handed_choice_is_run_as_ever(form):
    x = noise(2, CHANNELS, 6, 5)
    ours, usual = build(form, Blend("sampled")), build(form)
    for mixture in (ours, usual):
        mixture.weights = torch.tensor([0.5, 0.25, 0.25, 0.0], dtype=torch.float64)
    assert torch.equal(ours(x), usual(x))
    for mixture in (ours, usual):
        mixture.weights = None
        mixture.keep([2])
    assert torch.equal(ours(x), usual(x))


@pytest.mark.skipif(fused.available() != "compiled", reason="no compiler here")
def test_a_subset_takes_the_compiled_path_and_gives_the_same():
    found = []
    for fuse in (True, False):
        mixture, x = build("residual", Blend("subset", 2)), noise(2, CHANNELS, 6, 5)
        mixture.fuse = fuse
        torch.manual_seed(3)
        y = mixture(x.requires_grad_())
        assert mixture.path == ("fused" if fuse else "plain: asked for")
        parts = [x, mixture.alpha, mixture.gamma, mixture.beta]
        gradients = torch.autograd.grad((y * noise(*y.shape, seed=9)).sum(), parts)
        norms = [b for norm in mixture.norms for b in (norm.running_mean, norm.running_var)]
        found.append([y, *gradients, *norms])
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-10)
