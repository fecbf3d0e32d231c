"""What a search is expected to cost: every stage by steps as that stage takes them."""

from __future__ import annotations

import pytest

from rfsearch.engine import pace


@pytest.mark.parametrize(("near", "share", "warmup"), [("never", 0, 3.0), ("always", 0.8, 2.0)])
def test_a_stage_costs_what_its_own_steps_do(begin, tmp_path, monkeypatch, near, share, warmup):
    """A step that may draw costs 3, one that leaves all slots plain 2, a frozen one 2."""
    settings = {"pmpl.near": near, "plan.warmup_epochs": 4, "plan.search_epochs": 2,
                "plan.adapt_epochs": 3}  # fmt: skip
    run = begin(tmp_path / "run", settings=settings)
    searching = pace.new_search(run)

    def timed(*_):
        return 3.0 if blends() == {share} else 2.0

    def blends():
        mixtures = searching.supernet.mixtures.values()
        return {mixture.blend.plain_share for mixture in mixtures if not mixture.kept}

    monkeypatch.setattr(pace, "seconds_a_step", timed)
    monkeypatch.setattr(pace, "_alpha_seconds", lambda *_: 0.0)
    steps = searching.alternation.steps
    assert pace.supernet_seconds(searching, run) == steps * (4 * warmup + 2 * 3.0 + 3 * 2.0)
