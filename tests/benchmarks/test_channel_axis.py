"""The networks of the channel axis, their scores by hand, and the numbers of the page."""

from __future__ import annotations

from itertools import combinations, pairwise
from math import log

import numpy as np
import pytest
import torch

import channel_axis as bench


def test_networks_differ_and_are_the_same_each_time():
    nets = bench.draw(64)
    assert len({net.label for net in nets}) == 64
    assert bench.draw(10) == nets[:10]
    held = {(s.kernel, s.groups, s.width) for net in nets for s in net.stages}
    assert len(held) > 50
    for net in nets[::9]:
        assert bench.build(net).eval()(torch.zeros(2, 1, 16, 16)).shape == (2, 10)


def test_a_score_by_hand():
    """Each convolution: what it adds to the field inside 16 pixels, and the channels it reads."""
    stages = (bench.Stage(5, 0, 16, 2), bench.Stage(3, 4, 24, 1), bench.Stage(7, 1, 8, 4))
    net = bench.Drawn(8, stages, True)
    found = bench.measured(net)
    fields = [1, 3, 11, 11, 15, 15, 39, 39]
    reads = [1, 1, 8 // 2, 16 // 4, 16, 24, 24 // 4]
    rows = [2 * log(min(b, 16) / min(a, 16)) + log(c)
            for (a, b), c in zip(pairwise(fields), reads, strict=True)]  # fmt: skip
    assert found["score"] == pytest.approx(sum(rows))
    seen = [row for row, field in zip(rows, fields, strict=False) if field < 16]
    assert found["productive"] == pytest.approx(sum(seen))
    assert found["params"] == sum(p.numel() for p in bench.build(net).parameters())


def lines(accuracies, scores):
    same = {"images": "100", "epochs": "2", "seed": "0", "minutes": "0.1"}
    columns = zip(accuracies, scores, scores[::-1], strict=True)
    return [{**same, "network": str(i), "accuracy": str(a), "score": str(s), "productive": str(s),
             "path": str(-s), "params": str(p), "macs": str(i)}
            for i, (a, s, p) in enumerate(columns)]  # fmt: skip


def test_the_page_tells_taus():
    rng = np.random.default_rng(1)
    right, score = rng.random(12).tolist(), rng.random(12).tolist()
    pairs = [np.sign(right[i] - right[j]) * np.sign(score[i] - score[j])
             for i, j in combinations(range(12), 2)]  # fmt: skip
    tau = sum(pairs) / len(pairs)
    text = bench.page(lines(right, score))
    assert f"| score (3DRF-style) | {tau:.3f} |" in text
    assert f"| score, heaviest path | {-tau:.3f} |" in text
    assert "12 networks, 100 images, 2 epochs" in text


def test_a_score_that_ranks_worse_is_said_to():
    taus = dict.fromkeys(bench.MEASURES, 0.5) | {"macs": 0.6}
    assert "does not rank better" in bench.verdict(taus)
    assert "ranks better than" in bench.verdict(taus | {"score": 0.7})
