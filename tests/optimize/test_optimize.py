"""The optimizers: closed forms against the graph, golden cases, and what is refused."""

from __future__ import annotations

import json

import pytest
import torch
from torchvision import models

from rfsearch.analysis.capture import capture
from rfsearch.analysis.gain import gains
from rfsearch.analysis.walk import walk
from rfsearch.errors import UserError
from rfsearch.optimize import (
    build,
    figures,
    optimize_kernels,
    optimize_stages,
    original,
    stage_level,
)
from rfsearch.optimize.kernel_level import Choice, Proposal, _full, _varied, curve, is_open
from rfsearch.optimize.operators import CANDIDATES, DENSE, Kernel
from rfsearch.optimize.proposal import Optimized, load
from rfsearch.optimize.stage_level import neighbours
from rfsearch.optimize.staged import ORIGINALS, Stage, Staged, Stem, seen

SMALL = Staged("basic", Stem(16, 3, 1, True), (Stage(16, 1, 1), Stage(32, 2, 2)), classes=10)
INVERTED = Staged(
    "inverted", Stem(16, 3, 2, False), (Stage(16, 1, 1), Stage(24, 2, 2, 6)), last=64
)
PLAIN = Staged("plain", Stem(0, 3, 1, False), (Stage(16, 2, 2), Stage(32, 1, 2)), hidden=(20,),
               bias=True)  # fmt: skip
NECK = Staged("bottleneck", Stem(16, 5, 2, True), (Stage(16, 1, 1), Stage(16, 2, 2)))
ROLLED = {"stages.1.1.conv2": Kernel("rolling", 2, 0.5), "stages.0.0.conv1": Kernel("pool")}


def measured(network, size):
    torch.manual_seed(0)
    network = network.eval()
    program = capture(network, size)
    analysis = walk(network, size, program=program)
    return analysis, gains(network, program, analysis)


@pytest.mark.parametrize("net", [SMALL, INVERTED, PLAIN, NECK], ids=lambda net: net.family)
def test_closed_form_equals_the_graph(net):
    size = (16, 20)
    found = figures(net, size)
    analysis, metric = measured(build(net), size)
    assert found.params == analysis.totals.params
    assert found.macs == analysis.totals.macs
    assert found.score == pytest.approx(metric.score.path)
    assert found.productive == pytest.approx(metric.productive.path)


@pytest.mark.parametrize(
    "name", ["resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "mobilenetv2", "vgg16"]
)
def test_originals_are_torchvisions(name):
    with torch.device("meta"):
        published = models.get_model("mobilenet_v2" if name == "mobilenetv2" else name)
    assert figures(original(name), (224, 224)).params == sum(
        p.numel() for p in published.parameters()
    )


@pytest.fixture(scope="module")
def at_16():
    return optimize_stages(ORIGINALS["resnet18"], (16, 16))


def test_golden_case_at_the_same_cost(at_16):
    """Richter's efficient variant: a 3×3 stem without pooling, no dead blocks, less of both."""
    net, found = at_16.best.net, at_16.best.figures
    assert at_16.exact
    assert (net.stem.kernel, net.stem.pool) == (3, False)
    assert sum(stage.blocks for stage in net.stages) < 8
    assert found.productive > 2 * at_16.original.figures.productive
    assert found.macs <= at_16.original.figures.macs
    rows = [row for row in seen(net, (16, 16)) if not row.layer.side]
    assert all(row.productive for row in rows)


def test_golden_case_at_ten_times_the_cost(at_16):
    """Richter's performance variant: stem of stride 1, fewer down-samplings, about twice the
    score that fits at the same cost... of 10.8."""
    cap = 10 * at_16.original.figures.macs
    best = [p for p in at_16.points if p.figures.macs <= cap][-1]
    assert (best.net.stem.kernel, best.net.stem.stride, best.net.stem.pool) == (3, 1, False)
    assert sum(stage.stride == 2 for stage in best.net.stages) <= 2
    assert best.figures.productive > 35.8


def test_the_curve_rises(at_16):
    costs = [p.figures.macs for p in at_16.points]
    scores = [p.figures.productive for p in at_16.points]
    assert costs == sorted(costs)
    assert scores == sorted(set(scores))


def test_a_search_repeats_itself_and_finds_what_looking_at_all_finds(monkeypatch):
    exact = optimize_stages(SMALL, (16, 16))
    monkeypatch.setattr(stage_level, "EXACT", 0)
    one, two = (optimize_stages(SMALL, (16, 16), seed=3) for _ in range(2))
    assert one == two
    assert exact.exact > one.exact
    assert one.looked_at < exact.looked_at
    assert one.best.figures.productive == pytest.approx(exact.best.figures.productive)


def test_caps_below_the_smallest_network_tell_it():
    with pytest.raises(UserError, match=r"at most 10 MACs .*; the smallest: stem .* MACs"):
        optimize_stages(SMALL, (16, 16), max_macs=10)


def test_a_move_is_one_move():
    for one in neighbours(SMALL, 3):
        assert sum(stage.blocks for stage in one.stages) <= 3
        assert one != SMALL


@pytest.mark.parametrize("epsilon", [0.0, 0.05, 0.2])
def test_a_stage_keeps_what_it_must(epsilon):
    net = ORIGINALS["resnet18"]
    proposal = optimize_kernels(net, (32, 32), epsilon)
    assert not proposal.is_uniform
    for stage in range(1, 5):
        choices = [c for c in proposal.choices if c.row.layer.stage == stage]
        assert sum(c.earned for c in choices) >= (1 - epsilon) * sum(c.before for c in choices)
        gain = sum(c.row.spatial for c in choices)
        trained = sum(c.row.spatial for c in choices if c.kernel.name != "pool")
        assert trained >= 0.5 * gain - 1e-9
        assert _full(choices)


def test_cost_falls_with_epsilon():
    saved = [one.params_saved for one in curve(SMALL, (16, 16))]
    assert saved == sorted(saved)


def test_an_epsilon_that_allows_nothing_names_one_that_does():
    with pytest.raises(UserError, match=r"at --epsilon 0 one operator .*; 0\.\d+ allows one"):
        optimize_kernels(INVERTED, (32, 32), 0.0)
    assert curve(INVERTED, (32, 32))[0].epsilon > 0


def test_one_operator_everywhere_is_refused():
    rows = [row for row in seen(SMALL, (16, 16)) if is_open(row)]
    same = tuple(Choice(row, Kernel("pointwise"), 1.0, 1.0) for row in rows)
    other = (Choice(rows[0], DENSE, 1.0, 1.0), *same[1:])
    assert Proposal(0.0, same).is_uniform
    assert _varied(0.0, [[same, other]]).choices == other
    with pytest.raises(UserError, match="one operator alone; no proposal"):
        _varied(0.0, [[same]])


@pytest.mark.parametrize("kernel", CANDIDATES, ids=lambda kernel: kernel.label)
def test_an_operator_is_what_it_says(kernel):
    """Parameters, field and channels of the module itself."""
    net = Staged("basic", Stem(16, 3, 1, False), (Stage(16, 1, 1),), classes=10)
    row = next(row for row in seen(net, (9, 9)) if is_open(row))
    module = build(net, {row.layer.name: kernel}).get_submodule(row.layer.name)
    assert sum(p.numel() for p in module.parameters()) == kernel.params(row.layer)
    x = torch.randn(1, 16, 9, 9, requires_grad=True)
    reads = []
    for filter_number in range(16):
        (gradient,) = torch.autograd.grad(module.eval()(x)[0, filter_number, 4, 4], x)
        reads.append(gradient[0].abs().amax((1, 2)) > 0)
    assert torch.equal(torch.stack(reads), torch.from_numpy(kernel.reads(row.layer)))


def test_a_label_fits_the_layer():
    rows = {row.layer.name: row.layer for row in seen(NECK, (16, 16))}
    rolling = Kernel("rolling", 2, 0.5)
    assert rolling.label_on(rows["stages.0.0.conv2"]) == "DW + RPW g=2 o=0.5"
    assert rolling.label_on(rows["stages.0.0.conv1"]) == "RPW g=2 o=0.5"
    assert Kernel("grouped", 4).label_on(rows["stages.0.0.conv1"]) == "grouped PW g=4, shuffle"
    assert DENSE.label_on(rows["stages.0.0.conv1"]) == "dense"


def test_a_proposal_is_rebuilt_from_its_file_alone(tmp_path):
    rows = {row.layer.name: row for row in seen(SMALL, (16, 16))}
    choices = tuple(Choice(rows[n], k, 0.0, 0.0) for n, k in ROLLED.items())
    found = Optimized("small", (16, 16), SMALL, SMALL, Proposal(0.1, choices))
    file = tmp_path / "architecture.json"
    file.write_text(json.dumps(found.to_json()))
    torch.manual_seed(0)
    first = found.module().eval()
    second = load(file).module().eval()
    second.load_state_dict(first.state_dict())
    x = torch.randn(2, 3, 16, 16)
    assert torch.equal(first(x), second(x))
    analysis, metric = measured(first, (16, 16))
    params, macs, productive = found.after
    assert params == analysis.totals.params
    assert macs == analysis.totals.macs
    assert productive == pytest.approx(metric.productive.path)
    file.write_text('{"format": 1}')
    with pytest.raises(UserError, match="holds no proposed network"):
        load(file)
