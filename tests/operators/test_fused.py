"""The fused mixture against the plain one, which shares no code with it but torch's own pools."""

from __future__ import annotations

import copy
import ctypes

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from rfsearch import spaces
from rfsearch.operators import build_operator, compiled, fused
from rfsearch.operators.forms import FORMS
from rfsearch.operators.mixture import ResidualMixture
from rfsearch.operators.pooling import avg_pool, max_pool

if isinstance(why := compiled.library(fused.SOURCE, "double"), str):
    pytest.skip(f"nothing is fused here: {why}", allow_module_level=True)

SPEC = ("i", "m3", "m5", "m7", "a3", "a5", "a7")
LAYOUTS = [torch.contiguous_format, torch.channels_last]


def operator(channels, name):
    if name == "i":
        return nn.Identity()
    return (max_pool if name[0] == "m" else avg_pool)(channels, int(name[1:]))


def pair(channels, spec=SPEC, dtype=torch.float64, seed=0):
    """The same mixture twice: one that fuses, one that must not."""
    torch.manual_seed(seed)
    one = ResidualMixture(channels, [operator(channels, name) for name in spec]).to(dtype).train()
    with torch.no_grad():
        for parameter in one.parameters():
            parameter.normal_()
    other = copy.deepcopy(one)
    other.fuse = False
    return one, other


def noise(*shape, seed=1, dtype=torch.float64, layout=torch.contiguous_format):
    drawn = torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)
    return drawn.contiguous(memory_format=layout)


def everything(mixture, x, g):
    """y, then the gradients of x, α, γ, β, then the running statistics."""
    x = x.detach().requires_grad_()
    y = mixture(x)
    gradients = torch.autograd.grad(y, (x, mixture.alpha, mixture.gamma, mixture.beta), g)
    return y.detach(), *gradients, *mixture.buffers()


def assert_equal(one, other, x, g, tolerance=1e-10):
    found, expected = everything(one, x, g), everything(other, x, g)
    assert one.path == "fused"
    assert other.path == "plain: asked for"
    for a, b in zip(found, expected, strict=True):
        assert a.shape == b.shape
        assert torch.allclose(a, b, rtol=tolerance, atol=tolerance, equal_nan=True)
    assert found[0].stride() == expected[0].stride()


@settings(deadline=None, max_examples=30)
@given(
    st.tuples(st.integers(1, 3), st.integers(1, 20), st.integers(1, 13), st.integers(1, 13)),
    st.lists(st.sampled_from([*SPEC, "m9", "a9", "m15", "a15"]), min_size=1, max_size=8),
    st.sampled_from(LAYOUTS),
    st.sampled_from(LAYOUTS),
    st.integers(1, 3),
    st.integers(0, 2**31),
)
def test_equals_the_plain_mixture(shape, spec, layout, other_layout, threads, seed):
    if shape[0] * shape[2] * shape[3] == 1:
        shape = (2, *shape[1:])
    x, g = noise(*shape, seed=seed, layout=layout), noise(*shape, layout=other_layout)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        # The sum of two normalised values is ±1 whatever they are: their gradient is a rest of
        # subtraction, as large as ε lets it be.
        assert_equal(*pair(shape[1], spec, seed=seed), x, g, 1e-10 if x.numel() > 99 else 1e-7)
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize("size", [(12, 12), (3, 3), (2, 2), (1, 7), (1, 1)], ids=str)
def test_float32_is_as_near_to_float64_as_it_can_be(size, layout):
    x, g = (noise(32, 40, *size, seed=s, dtype=torch.float32, layout=layout) for s in (1, 2))
    one, plain = pair(40, dtype=torch.float32)
    expected = everything(plain.double(), (x + 3).double(), g.double())
    for found, truth in zip(everything(one, x + 3, g), expected, strict=True):
        assert (found - truth).abs().max() <= 1e-5 * truth.abs().max().clamp(min=1)


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize("size", [(1, 2), (2, 2), (4, 3), (5, 7), (9, 8)], ids=str)
def test_small_images_that_share_a_tile_stay_apart(size, layout):
    """37 divides into no stack of them."""
    x, g = (noise(37, 19, *size, seed=s, layout=layout) for s in (1, 2))
    assert_equal(*pair(19), x, g)


@pytest.mark.parametrize("spec", [("m7", "a5"), ("a7",), ("m5", "i"), ("a3", "m9")], ids=str)
def test_few_candidates_of_far_reach(spec):
    x, g = (noise(3, 18, 12, 17, seed=s, layout=torch.channels_last) for s in (1, 2))
    assert_equal(*pair(18, spec), x, g)


def test_strided_maps_and_gradients():
    x = noise(3, 10, 9, 8)[:, ::2].transpose(2, 3)
    assert_equal(*pair(5), x, noise(1, 1, 1, 9, seed=2).expand(3, 5, 8, 9))


@pytest.mark.parametrize("size", [(4, 5), (2, 2), (1, 3)], ids=str)
def test_gradients_are_slopes(size):
    mixture, _ = pair(2, ("i", "m3", "a3", "m5", "a5"))
    parameters = mixture.alpha, mixture.gamma, mixture.beta

    def mixed(x, alpha, gamma, beta):
        reaches = [fused.reach(o) for o in mixture.operators]
        return fused.mix(x, alpha.softmax(0), gamma, beta, reaches, list(mixture.norms))

    x = noise(2, 2, *size).requires_grad_()
    assert torch.autograd.gradcheck(mixed, (x, *parameters), eps=1e-6, atol=1e-5)


@pytest.mark.parametrize("size", [(9, 9), (3, 3), (2, 5), (1, 4)], ids=str)
def test_of_values_that_tie_one_has_the_whole_gradient(size):
    """Which one is free where windows cover the map; the sum is not, nor the slope along x, to
    which values that tie add alike."""
    mixture, plain = pair(6)
    x = noise(4, 6, *size).mul(2).round().clamp(0, 3)
    assert len(x.unique()) == 4, "many values tie"
    found, expected = (everything(m, x, noise(4, 6, *size, seed=2)) for m in (mixture, plain))
    same = range(len(found)) if size == (9, 9) else [0, *range(2, len(found))]
    for place in same:
        assert torch.allclose(found[place], expected[place], rtol=1e-10, atol=1e-10), place
    for by in (torch.ones_like(x), x):
        a, b = ((result[1] * by).sum((0, 2, 3)) for result in (found, expected))
        assert torch.allclose(a, b, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("spec", [SPEC, ("m3", "m5")], ids=str)
def test_what_is_not_a_number_spoils_its_channel_and_no_other(value, spec):
    mixture, _ = pair(3, spec)
    x = noise(2, 3, 6, 6)
    x[1, 1, 3, 2] = value
    y, dx, *_ = everything(mixture, x, noise(2, 3, 6, 6, seed=2))
    for result in (y, dx):
        assert result[:, 1].isnan().all()
        assert result[:, [0, 2]].isfinite().all()


def test_threads_change_no_bit():
    x, g = (noise(4, 100, 7, 7, seed=s, dtype=torch.float32) for s in (1, 2))
    results = []
    for threads in (1, 3):
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        results.append(everything(pair(100, dtype=torch.float32)[0], x, g))
        torch.set_num_threads(before)
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


def test_still_statistics_stay():
    mixture, plain = pair(4)
    before = [buffer.clone() for buffer in mixture.buffers()]
    for norm in (*mixture.norms, *plain.norms):
        norm.track_running_stats = False
    assert_equal(mixture, plain, noise(3, 4, 5, 5), noise(3, 4, 5, 5, seed=2))
    assert all(torch.equal(a, b) for a, b in zip(before, mixture.buffers(), strict=True))


def test_no_gradient_is_made_for_maps_that_ask_for_none():
    mixture, plain = pair(4)
    x = noise(3, 4, 5, 5)
    (mine,), (theirs,) = (
        torch.autograd.grad(m(x).square().sum(), m.alpha) for m in (mixture, plain)
    )
    assert torch.allclose(mine, theirs, rtol=1e-10, atol=1e-10)


def test_candidates_that_do_not_fuse_are_added():
    torch.manual_seed(0)
    space = spaces.load_space("pmpl")
    operators = [build_operator(o.name, 8, dict(o.arguments)) for o in space.operators]
    mixture = ResidualMixture(8, operators).double().train()
    plain = copy.deepcopy(mixture)
    plain.fuse = False
    assert any(fused.reach(operator) is None for operator in operators)
    assert_equal(mixture, plain, noise(3, 8, 7, 6), noise(3, 8, 7, 6, seed=2))


def test_what_is_not_fused_says_why():
    mixture, _ = pair(4)
    x = noise(2, 4, 5, 5)
    ways = {
        "only a batch's own statistics are fused": (copy.deepcopy(mixture).eval(), x),
        "only float32 and float64 on a CPU are fused": (
            copy.deepcopy(mixture).bfloat16(),
            x.bfloat16(),
        ),
        "the parameters are not of the maps' type": (copy.deepcopy(mixture), x.float()),
    }
    for why, (given_mixture, given_x) in ways.items():
        if given_x.dtype != torch.float32:
            assert given_mixture(given_x).isfinite().all()
        else:
            given_mixture._together(given_x, range(len(given_mixture.operators)))
        assert given_mixture.path == f"plain: {why}"
    paper = FORMS["paper"].mixture(4, list(mixture.operators))
    assert paper.path.startswith("plain: ")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_numbers_take_the_plain_path(dtype):
    mixture, plain = pair(4, dtype=dtype)
    x, g = noise(2, 4, 5, 5).to(dtype), noise(2, 4, 5, 5, seed=2).to(dtype)
    for a, b in zip(everything(mixture, x, g), everything(plain, x, g), strict=True):
        assert torch.equal(a, b)


def test_without_a_compiler_mixtures_are_plain(monkeypatch):
    fused.available()  # compiled before, it stays
    monkeypatch.setenv("CC", "no-such-compiler")
    told = compiled.library.__wrapped__(fused.SOURCE, "float")
    assert told == "no C compiler was found"
    assert fused.available() == "compiled"
    monkeypatch.setattr(fused, "library", lambda *_: told)
    assert fused.available() == told
    mixture, plain = pair(4)
    x, g = noise(2, 4, 5, 5), noise(2, 4, 5, 5, seed=2)
    for a, b in zip(everything(mixture, x, g), everything(plain, x, g), strict=True):
        assert torch.equal(a, b)
    assert mixture.path == f"plain: {told}"


@pytest.mark.parametrize("command", ["false", "true"])
def test_a_compiler_that_fails_is_told_of(monkeypatch, tmp_path, command):
    monkeypatch.setenv("CC", command)
    monkeypatch.setattr(compiled, "_folder", lambda: tmp_path)
    told = compiled.library.__wrapped__(fused.SOURCE, "float")
    assert isinstance(told, str)
    assert "failed" in told


def test_a_library_is_compiled_once(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    compiled._folder.cache_clear()
    try:
        source = tmp_path / "one.c"
        source.write_text("REAL one(void) { return 1; }")
        for _ in range(2):
            found = compiled.library.__wrapped__(source, "double")
            assert isinstance(found, ctypes.CDLL)
            (made,) = (tmp_path / "rfsearch").glob("*.so")
            stamps = {made.stat().st_mtime_ns}
        assert len(stamps) == 1
    finally:
        compiled._folder.cache_clear()
