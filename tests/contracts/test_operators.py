"""What every entry of OPERATORS keeps, and each against numbers made in another way."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from rfsearch import spaces
from rfsearch.errors import UserError
from rfsearch.operators import OPERATORS, build_operator, forms
from rfsearch.operators.pooling import max_pyramid

CHANNELS = 6
EXAMPLES = {"kernel": 3}
"""Values of arguments for operators that stand in no packaged space."""


def _cases():
    packaged = [op for name in spaces.names() for op in spaces.load_space(name).enhancing]
    found = {op.label: (op.name, dict(op.arguments)) for op in packaged}
    for name in sorted(OPERATORS.keys() - {name for name, _ in found.values()}):
        parameters = list(inspect.signature(OPERATORS[name]).parameters.values())[1:]
        needed = [p.name for p in parameters if p.default is inspect.Parameter.empty]
        assert set(needed) <= set(EXAMPLES), f"{name}: EXAMPLES lacks a value for {needed}"
        found[name] = (name, {key: EXAMPLES[key] for key in needed})
    return found


CASES = _cases()
every_operator = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())


def build(case, channels=CHANNELS):
    name, arguments = case
    torch.manual_seed(0)
    return build_operator(name, channels, arguments)


def noise(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def test_no_operator_is_left_out():
    assert {name for name, _ in CASES.values()} == set(OPERATORS)


@every_operator
@pytest.mark.parametrize("size", [(8, 8), (5, 9), (2, 3), (1, 1)], ids=str)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=str)
def test_shape_is_kept(case, size, layout):
    x = noise(2, CHANNELS, *size, dtype=torch.float32).contiguous(memory_format=layout)
    before = x.clone()
    y = build(case)(x)
    assert y.shape == x.shape
    assert y.dtype == x.dtype
    assert torch.equal(x, before), "the operator changed its input"


@every_operator
def test_stride_is_one(case):
    """A picture that moves by (1, 2) pixels moves its map by as much, away from the border."""
    operator = build(case).double().eval()
    x = noise(1, CHANNELS, 20, 20)
    moved = operator(x.roll((1, 2), (2, 3)))
    expected = operator(x).roll((1, 2), (2, 3))
    inside = (..., slice(6, -6), slice(6, -6))
    assert torch.allclose(moved[inside], expected[inside], rtol=0, atol=1e-12)


@every_operator
def test_gradient_reaches_every_parameter_and_the_input(case):
    # In evaluation mode: batch statistics would swallow the bias in front of a norm.
    operator = build(case).double().eval()
    x = noise(3, CHANNELS, 7, 6).requires_grad_()
    (operator(x) * noise(3, CHANNELS, 7, 6, seed=1)).sum().backward()
    for name, parameter in (*operator.named_parameters(), ("the input", x)):
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name
    assert (x.grad.abs().sum((2, 3)) > 0).all(), "a map without a gradient"


@every_operator
def test_state_dict_round_trip(case):
    first = build(case)
    x = noise(4, CHANNELS, 6, 6, dtype=torch.float32)
    first.train()(x)  # moves running statistics
    torch.manual_seed(1)
    second = build_operator(case[0], CHANNELS, case[1])
    second.load_state_dict(first.state_dict(), strict=True)
    assert torch.equal(first.eval()(x), second.eval()(x))


@every_operator
def test_every_image_is_seen_alone(case):
    operator = build(case).double().eval()
    x = noise(3, CHANNELS, 6, 5)
    alone = torch.cat([operator(image) for image in x.split(1)])
    assert torch.allclose(operator(x), alone, rtol=0, atol=1e-12)


@every_operator
def test_unknown_arguments_are_the_users_mistake(case):
    name, arguments = case
    with pytest.raises(UserError, match=name):
        build_operator(name, CHANNELS, {**arguments, "kernle": 3})
    for missing in arguments:
        with pytest.raises(UserError, match=missing):
            build_operator(name, CHANNELS, {k: v for k, v in arguments.items() if k != missing})


def test_unknown_operators_are_named():
    with pytest.raises(UserError, match=r"'max_pol'.*did you mean 'max_pool'.*avg_pool"):
        build_operator("max_pol", CHANNELS, {"kernel": 3})


@pytest.mark.parametrize("name", ["max_pool", "avg_pool"])
@pytest.mark.parametrize("kernel", [2, 4, 1, 0, -3, 3.0, True, "3", None], ids=repr)
def test_a_pooling_kernel_is_odd(name, kernel):
    with pytest.raises(UserError, match=r"odd number from 3 on, not"):
        build_operator(name, CHANNELS, {"kernel": kernel})


SIZES = st.tuples(*[st.integers(1, 12)] * 2)
KERNELS = st.sets(st.sampled_from([3, 5, 7, 9, 11]), min_size=1).map(sorted)


@settings(max_examples=60)
@given(SIZES, KERNELS, st.integers(0, 2**31), st.booleans(), st.booleans())
def test_max_pyramid_equals_separate_pools(size, kernels, seed, ties, last):
    x = noise(2, 3, *size, seed=seed, dtype=torch.float32) * 3 - 1
    if ties:
        x = x.round().clamp(-2, 2)
    if last:
        x = x.contiguous(memory_format=torch.channels_last)
    for kernel, found in zip(kernels, max_pyramid(x, kernels), strict=True):
        assert torch.equal(found, F.max_pool2d(x, kernel, 1, kernel // 2)), kernel


@pytest.mark.parametrize("kernel", [3, 5, 7])
@pytest.mark.parametrize("size", [(9, 9), (2, 5), (1, 1)], ids=str)
def test_pools_equal_brute_force_over_real_pixels(kernel, size):
    x = noise(2, 2, *size)
    reach, (height, width) = kernel // 2, size
    mean, largest = np.empty(x.shape), np.empty(x.shape)
    for i, j in np.ndindex(size):
        rows = slice(max(0, i - reach), min(height, i + reach + 1))
        columns = slice(max(0, j - reach), min(width, j + reach + 1))
        pixels = x.numpy()[:, :, rows, columns]
        mean[:, :, i, j] = pixels.mean((2, 3))
        largest[:, :, i, j] = pixels.max((2, 3))
    found = {n: build_operator(n, 2, {"kernel": kernel})(x) for n in ("avg_pool", "max_pool")}
    np.testing.assert_allclose(found["avg_pool"].numpy(), mean, rtol=0, atol=1e-14)
    np.testing.assert_array_equal(found["max_pool"].numpy(), largest)


def hard_swish(x):
    return x * np.clip(x + 3, 0, 6) / 6


def gates(x, state, training):
    """SSP's formula once more, in numpy: the gates of rows (N, C, H) and columns (N, C, W)."""
    height = x.shape[2]
    lines = np.concatenate([x.mean(axis=3), x.mean(axis=2)], axis=2)  # (N, C, H + W)
    first, bias = state["squeeze.0.weight"][:, :, 0, 0], state["squeeze.0.bias"]
    hidden = np.einsum("mc,ncl->nml", first, lines) + bias[:, None]
    if training:
        mean, variance = hidden.mean((0, 2)), hidden.var((0, 2))
    else:
        mean, variance = state["squeeze.1.running_mean"], state["squeeze.1.running_var"]
    hidden = (hidden - mean[:, None]) / np.sqrt(variance[:, None] + 1e-5)
    hidden = hard_swish(
        hidden * state["squeeze.1.weight"][:, None] + state["squeeze.1.bias"][:, None]
    )
    parts = {"rows": hidden[:, :, :height], "columns": hidden[:, :, height:]}
    found = []
    for axis, part in parts.items():
        logits = np.einsum("cm,nml->ncl", state[f"{axis}.weight"][:, :, 0, 0], part)
        found.append(1 / (1 + np.exp(-(logits + state[f"{axis}.bias"][:, None]))))
    return found


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("channels", [5, 320])
def test_ssp_equals_its_formula(training, channels):
    operator = build(("ssp", {}), channels).double().train(training)
    norm = operator.squeeze[1]
    with torch.no_grad():
        for tensor in (norm.weight, norm.bias, norm.running_mean):
            tensor.copy_(noise(*tensor.shape, seed=3))
        norm.running_var.copy_(noise(*norm.running_var.shape, seed=4).square() + 0.5)
    state = {key: value.numpy().copy() for key, value in operator.state_dict().items()}
    assert state["squeeze.0.weight"].shape[0] == max(8, channels // 32)
    x = noise(3, channels, 6, 4)
    rows, columns = gates(x.numpy(), state, training)
    expected = x.numpy() * rows[:, :, :, None] * columns[:, :, None, :]
    np.testing.assert_allclose(operator(x).detach().numpy(), expected, rtol=0, atol=1e-12)


def test_identity_is_the_layer_itself():
    operator = build(("identity", {}))
    x = noise(1, CHANNELS, 4, 4)
    assert isinstance(operator, nn.Identity)
    assert operator(x) is x


def test_the_forms_a_space_may_name_are_those_that_are_built():
    assert set(spaces.FORMS) == {*forms.FORMS, "replace"}
