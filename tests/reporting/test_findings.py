"""Failure modes are said when they occur and not otherwise."""

from __future__ import annotations

import json

from rfsearch.reporting import frames, nulls
from rfsearch.reporting.findings import findings
from rfsearch.reporting.records import read


def names(folder, null=None):
    return {finding.name: finding.sentence for finding in findings(read(folder), null)}


def test_collapse_to_identity_is_the_plain_backbone(make_run):
    found = names(make_run(chosen=(0,) * 16))
    assert found["collapse"] == (
        "Collapse to one operator: all 16 slots hold identity. "
        "The found network is the plain backbone."
    )


def test_collapse_of_most_slots(make_run):
    found = names(make_run(chosen=(3,) * 14 + (0, 1)))
    assert found["collapse"] == "Collapse to one operator: 14 of 16 slots hold max 7."


def test_a_mixed_outcome_has_not_collapsed(make_run):
    assert "collapse" not in names(make_run())


def test_deadline_counts_slots(make_run):
    assert names(make_run())["deadline"].startswith("Decided by the deadline: 5 of 16 slots")


def test_slots_that_stayed_plain_though_another_led(make_run):
    folder = make_run()
    lines = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    *_, line = (line for line in lines if line.get("froze"))
    held = [event for event in line["froze"] if event["operators"] != ["identity"]][:2]
    for event in held:
        event["operators"] = ["identity"]
    (folder / "history.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert names(folder)["deadline"].endswith(
        "ended, but that 2 stayed plain: another led there by less than the threshold "
        "(pmpl.deadline=argmax would keep it)."
    )
    shares = {event["slot"]: event["p"][0] for event in held}
    frozen = frames.freezes(read(folder)).set_index("slot")
    assert frozen.loc[list(shares), "p"].to_dict() == shares


def test_the_event_itself_decides_where_it_says_so(make_run):
    folder = make_run()
    lines = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    for line in lines:
        for event in line.get("froze", ()):
            event["by"] = "rule"
    (folder / "history.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert "deadline" not in names(folder)


def test_near_uniform_weights(make_run):
    folder = make_run()
    lines = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    for line in lines:
        for event in line.get("froze", ()):
            event["p"] = [1 / 7] * 7
    (folder / "history.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert names(folder)["near-uniform"].startswith("Nearly uniform weights: in 16 of 16 slots")


def test_same_winner_beside_chance(make_run):
    sentence = names(make_run())["same-winner"]
    assert "of 16 slots" in sentence
    assert "chance would give about 2.3" in sentence


def test_null_band_and_null_freezes(make_run, make_null):
    low = nulls.band("quick", "mobilenetv2", "pooling", make_null())
    assert not {"inside-null", "null-freezes"} & set(names(make_run(), low))
    noisy = nulls.band("quick", "mobilenetv2", "pooling", make_null(frozen_share=0.25))
    assert "25.0 % of the slots freeze (three seeds)" in names(make_run(), noisy)["null-freezes"]


def test_leads_inside_the_null_band(make_run):
    wide = nulls.Band((0, 500), (0.0, 0.0), (0.1, 0.1), (0.2, 0.2), (0.3, 0.3), 3, 16, 0.0)
    assert "in 5 of 16 slots" in names(make_run(), wide)["inside-null"]


def test_a_control_says_that_it_is_one(make_run):
    folder = make_run(settings={"pmpl.threshold": 0.2, "pmpl.null": "signs"})
    assert "random signs" in names(folder)["null-run"]


def test_trials_no_further_apart_than_the_draw_of_images(make_run, with_trials):
    """50, 51 and 52 % of 1,000 images; sqrt(.51 · .49 / 1000) is 1.6 %."""
    told = names(with_trials(make_run("few"), 4))["trials-alike"]
    assert "scores of three networks lie no further apart than luck (sd 1.0 points" in told
    assert "1,000 selection images alone gives equally good networks 1.6)" in told
    assert "plan.proxy_epochs" in told
    assert "trials-alike" not in names(with_trials(make_run("many"), 25))
    assert "trials-alike" not in names(make_run("none"))
    of_supernet = names(with_trials(make_run("scored"), 4, stage="scored"))["trials-alike"]
    assert of_supernet.endswith("Try more images to select by (plan.images).")


def test_other_metrics_have_no_such_noise(make_run, with_trials):
    folder = with_trials(make_run(), 4)
    path = folder / "metrics.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"metric": "macro_f1"}))
    assert "trials-alike" not in names(folder)


def test_a_supernet_that_guesses(make_run):
    """Ten classes: a guess has log 10 = 2.30, and nine tenths of it are 2.07."""

    def with_loss(loss, **settings):
        folder = make_run(f"run {loss} {len(settings)}")
        path, config = folder / "history.jsonl", folder / "config.json"
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        lines = [
            line | {"loss": loss} if line.get("stage") == "search" else line for line in lines
        ]
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
        record = json.loads(config.read_text())
        config.write_text(json.dumps(record | {"settings": record["settings"] | settings}))
        return names(folder)

    told = with_loss(2.2)["untrained"]
    assert "had a loss of 2.20 in the mean, and a guess has 2.30" in told
    assert "pmpl.near=always" in told
    assert "pmpl.near" not in with_loss(2.2, **{"pmpl.near": "always"})["untrained"]
    assert "untrained" not in with_loss(2.0)
