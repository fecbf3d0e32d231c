"""NNI's one-shot strategies over our supernet: the same mixture, the same weights, nothing left
behind."""

from __future__ import annotations

import random
import signal

import numpy as np
import pytest
import torch

import tiny_task as tiny
from rfsearch import strategies
from rfsearch.spaces import Operator, Space
from rfsearch.strategies.pmpl_search import Stages

pytest.importorskip("nni", reason="nni has no wheel for this machine")

SSP = Space("tiny", "paper", (Operator("identity"), Operator("max_pool", (("kernel", 3),)),
                              Operator("ssp")))  # fmt: skip

POOL = Operator("pf_max", (("kernel", 3),))
INSTEAD = Space("tiny", "replace", (Operator("conv"), Operator("dilated", (("dilation", 2),)),
                                    POOL))  # fmt: skip
MIXED = Space("mixed", "residual", (Operator("identity"), Operator("avg_pool", (("kernel", 3),)),
                                    POOL), replacing=1)  # fmt: skip


@pytest.mark.parametrize("space", [tiny.SPACE, SSP, INSTEAD, MIXED], ids=lambda one: one.kind)
def test_the_layer_choice_is_our_mixture(space):
    """Forward at random α, and the gradients of weights and α."""
    search = tiny.begin("nni-darts", space=space, costs=None)
    generator = torch.Generator().manual_seed(0)
    for mixture in search.mixtures.values():
        mixture.alpha.data.copy_(torch.randn(3, generator=generator))
    x = torch.randn(4, 1, tiny.SIDE, tiny.SIDE, generator=generator)
    wanted = [*search.supernet.weights(), *search.supernet.alphas().values()]

    def told(network):
        y = network.train()(x)
        return y, torch.autograd.grad(y.square().sum(), wanted, allow_unused=True)

    ours, slopes = told(search.supernet)
    with search._expressed():
        assert "LayerChoice" in str(type(next(iter(search.places.values())).choice).__mro__)
        theirs, theirs_slopes = told(search.module.training_module.model)
    torch.testing.assert_close(theirs, ours, rtol=1e-4, atol=1e-4)
    for one, other in zip(theirs_slopes, slopes, strict=True):
        if one is None or other is None:
            assert one is other
        else:
            torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3)
    assert torch.equal(search.supernet.train()(x), ours)  # ours stands again


def test_the_warmup_rests_alpha_and_the_search_moves_it():
    search = tiny.begin("nni-darts")
    before = {slot: alpha.detach().clone() for slot, alpha in search.supernet.alphas().items()}
    weights = [w.detach().clone() for w in search.supernet.weights()]
    search.advance()
    assert all(torch.equal(before[s], a) for s, a in search.supernet.alphas().items())
    assert any(
        not torch.equal(a, b) for a, b in zip(weights, search.supernet.weights(), strict=True)
    )
    search.advance()
    assert not any(torch.equal(before[s], a) for s, a in search.supernet.alphas().items())
    for slot, mixture in search.mixtures.items():
        assert mixture.kept == (int(mixture.alpha.argmax()),), slot


def test_the_global_generators_are_left_alone():
    task = tiny.task()
    random.seed(5), np.random.seed(5), torch.manual_seed(5)  # noqa: NPY002 - what is watched
    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()  # noqa: NPY002
    handler = signal.getsignal(signal.SIGINT)
    tiny.finish(strategies.resolve("nni-gumbel")(task))
    assert random.getstate() == before[0]
    assert np.random.get_state()[1].tolist() == before[1]  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), before[2])
    assert signal.getsignal(signal.SIGINT) is handler


def test_an_interrupt_is_an_interrupt():
    """Lightning would leave with code 1 and ignore the next Ctrl-C."""

    def stop(*_):
        raise KeyboardInterrupt

    search, handler = tiny.begin("nni-darts"), signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        search.advance(stop)
    assert signal.getsignal(signal.SIGINT) is handler
    assert all(search.supernet.mixture(slot) is one for slot, one in search.mixtures.items())


def test_epochs_end_with_the_weights_split():
    search = tiny.begin("nni-darts")
    seen = []
    search.advance(lambda step, steps: seen.append((step, steps)))
    assert seen == [(1, 2), (2, 2)]  # 16 images, batches of 8


@pytest.mark.parametrize("name", ["nni-darts", "nni-gumbel"])
def test_stopped_after_every_epoch_it_is_as_if_never_stopped(name):
    """With several steps of NNI's Adam behind it, and a temperature that falls."""
    stages = Stages(0, 3, 0)
    whole = tiny.finish(tiny.begin(name, stages=stages))
    search, lines = tiny.begin(name, stages=stages), []
    while not search.finished:
        lines.append(tiny.timeless(search.advance()))
        state = search.state_dict()
        search = tiny.begin(name, stages=stages)
        search.load_state_dict(state)
    assert {float(state["step"]) for state in search.adam.values()} == {3 * search.steps}
    assert lines == whole[0]
    assert [choice.label for choice in search.choices()] == whole[1]
