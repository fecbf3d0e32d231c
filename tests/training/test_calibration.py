"""The loss at its best temperature, against a search by scipy and its own property."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.optimize import minimize_scalar

from rfsearch.training.calibration import best_scale, calibrated_cross_entropy


def batch(loudness=1.0, seed=0):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 5, (40,), generator=generator)
    logits = torch.randn(40, 5, generator=generator) + F.one_hot(labels, 5)
    return logits * loudness, labels


def by_scipy(logits, labels, weight=None):
    values = logits.double().numpy()
    each = np.ones(len(labels)) if weight is None else weight.double().numpy()[labels.numpy()]

    def loss(t):
        scaled = math.exp(t) * values
        total = np.log(np.exp(scaled - scaled.max(1, keepdims=True)).sum(1)) + scaled.max(1)
        losses = total - scaled[np.arange(len(scaled)), labels.numpy()]
        return (each * losses).sum() / each.sum()

    best = minimize_scalar(loss, bounds=(-3, 3), method="bounded")
    return math.exp(best.x), best.fun


@pytest.mark.parametrize("loudness", [0.2, 1.0, 5.0])
def test_the_scale_is_the_best(loudness):
    logits, labels = batch(loudness)
    scale, _ = by_scipy(logits, labels)
    assert float(best_scale(logits, labels)) == pytest.approx(scale, rel=1e-3)


def test_the_scale_is_the_best_where_classes_weigh():
    logits, labels = batch()
    weight = torch.tensor([8.0, 0.1, 0.1, 0.1, 4.0])
    scale, loss = by_scipy(logits, labels, weight)
    assert float(best_scale(logits, labels, weight)) == pytest.approx(scale, rel=1e-3)
    assert float(calibrated_cross_entropy(logits, labels, weight)) == pytest.approx(loss, rel=1e-4)
    assert scale != pytest.approx(by_scipy(logits, labels)[0], rel=1e-2)


def test_the_loss_does_not_hang_on_how_loud_the_logits_are():
    quiet, loud = (calibrated_cross_entropy(*batch(loudness)) for loudness in (0.5, 4.0))
    assert float(quiet) == pytest.approx(float(loud), rel=1e-5)
    assert float(quiet) <= float(F.cross_entropy(*batch()))


def test_scaling_gets_no_gradient_and_the_rest_does():
    logits, labels = batch(3.0)
    logits.requires_grad_()
    (gradient,) = torch.autograd.grad(calibrated_cross_entropy(logits, labels), logits)
    along = float((gradient * logits.detach()).sum())
    assert abs(along) < 1e-5
    (plain,) = torch.autograd.grad(F.cross_entropy(logits, labels), logits)
    assert abs(float((plain * logits.detach()).sum())) > 0.1
    assert gradient.norm() > 1e-2


def test_the_scale_stays_in_its_range():
    logits, labels = batch(0.0)
    assert math.exp(-3.01) <= float(best_scale(logits, labels)) <= math.exp(3.01)
    perfect = F.one_hot(labels, 5).float()
    assert float(best_scale(perfect, labels)) == pytest.approx(math.exp(3), rel=1e-3)
    assert float(best_scale(-perfect, labels)) == pytest.approx(math.exp(-3), rel=1e-3)
