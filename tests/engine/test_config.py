"""A run's configuration: every mistake told before anything is done, and JSON both ways."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rfsearch import backbones, spaces
from rfsearch.engine.config import Config, Request, differences, parse_caps, settle
from rfsearch.engine.plan import (
    BUDGETS,
    IMAGE_SIZES,
    PLANS,
    Plan,
    duration,
    named_plan,
    stretch,
)
from rfsearch.errors import UserError
from rfsearch.trials import read_json, write_json

PLAN = PLANS["mobilenetv2", "quick"]


def request(**changes):
    return Request(**{"backbone": "mobilenetv2", **changes})


def assigned(**changes):
    return tuple(f"{key.replace('__', '.')}={value}" for key, value in changes.items())


# ---- plans


@pytest.mark.parametrize("budget", BUDGETS)
@pytest.mark.parametrize("backbone", list(backbones.BACKBONES))
def test_every_backbone_has_a_plan_for_every_budget(backbone, budget):
    plan = named_plan(backbone, budget)
    assert plan is PLANS[backbone, budget]
    for name, kind in Plan.__annotations__.items():
        assert type(getattr(plan, name)).__name__ == kind, name
    config = settle(Request(backbone=backbone, budget=budget, image_size=plan.image_size))
    assert config.plan == plan
    network = backbones.build(config.backbone_for(classes=3, channels=1))
    assert backbones.BACKBONES[backbone].slots(network)


def test_the_table_of_plans_holds_nothing_else():
    assert set(PLANS) == {(b, budget) for b in backbones.BACKBONES for budget in BUDGETS}


def test_budgets_grow():
    for backbone in backbones.BACKBONES:
        plans = [named_plan(backbone, budget) for budget in BUDGETS]
        for name in ("search_epochs", "retrain_epochs", "width", "image_size"):
            values = [getattr(plan, name) for plan in plans]
            assert values == sorted(values), name


@pytest.mark.parametrize(("text", "seconds"), [("4h", 14400), ("1.5h", 5400), ("90m", 5400)])
def test_a_duration_begins_as_the_standard_plan(text, seconds):
    assert duration(text) == seconds
    assert named_plan("resnet18", text) is PLANS["resnet18", "standard"]


@pytest.mark.parametrize("text", ["fast", "4", "h", "-4h", "4 h", "4d", "", "quick "])
def test_unknown_budgets_are_named(text):
    assert duration(text) is None
    with pytest.raises(UserError, match=r"unknown budget .*quick, standard, paper, or a duration"):
        settle(request(budget=text))


@given(st.floats(0, 20))
def test_stretching_keeps_every_stage(factor):
    plan = stretch(PLAN, factor)
    for name in ("warmup_epochs", "search_epochs", "adapt_epochs", "retrain_epochs"):
        assert getattr(plan, name) == max(1, round(getattr(PLAN, name) * factor))
    assert replace(
        plan, **{n: getattr(PLAN, n) for n in Plan.__annotations__ if "epochs" in n}
    ) == (PLAN)


@pytest.mark.parametrize("key", list(PLANS), ids="-".join)
def test_a_plan_goes_to_json_and_back(key):
    text = json.dumps(PLANS[key].to_json())
    assert Plan.from_json(json.loads(text), "config.json") == PLANS[key]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"widht": 1.0}, "adds widht"),
        ({"width": "wide"}, r"plan\.width must be float, not 'wide'"),
        ({"width": True}, r"plan\.width must be float, not True"),
        ({"images": 1.5}, r"plan\.images must be int, not 1\.5"),
        ({"images": None}, r"plan\.images must be int, not None"),
        ({"layout": 3}, r"plan\.layout must be str, not 3"),
        ({"search_epochs": 0}, r"plan\.search_epochs must be 1 or more, not 0"),
        ({"warmup_epochs": -1}, r"plan\.warmup_epochs must be 0 or more, not -1"),
        ({"width": -0.5}, r"plan\.width must be more than 0"),
    ],
    ids=str,
)
def test_a_wrong_plan_is_told(change, message):
    with pytest.raises(UserError, match=message):
        Plan.from_json({**PLAN.to_json(), **change}, "config.json")


def test_a_plan_that_misses_something_is_told():
    record = PLAN.to_json()
    del record["threads"]
    with pytest.raises(UserError, match=r"config\.json: its plan misses or adds threads"):
        Plan.from_json(record, "config.json")


# ---- settling


def test_an_older_plan_has_what_came_later_as_it_was():
    record = PLAN.to_json()
    del record["image_width"]
    assert Plan.from_json(record, "config.json") == replace(PLAN, image_width=0)


def test_defaults_are_filled_in():
    config = settle(request())
    assert (config.space, config.data, config.strategy) == ("pooling", "digits", "pmpl")
    assert (config.budget, config.seed, config.image_size) == ("quick", 0, (48, 48))
    assert config.operators == spaces.load_space("pooling").labels
    assert config.settings["pmpl.threshold"] == 0.2


def test_assignments_reach_their_place():
    config = settle(request(assignments=assigned(plan__width=0.25, pmpl__patience=7)))
    assert config.plan == replace(PLAN, width=0.25, image_size=48)
    assert config.settings["pmpl.patience"] == 7
    assert not any(key.startswith("plan.") for key in config.settings)


@pytest.mark.parametrize("name", list(IMAGE_SIZES))
def test_image_sizes_are_the_data_sets_own(name):
    for budget, size in zip(BUDGETS, IMAGE_SIZES[name], strict=True):
        config = settle(request(data=f"{name}:some/where", budget=budget))
        assert config.image_size == (size, size)
        assert config.changed == ()
    assert settle(request(data=name, image_size=96)).image_size == (96, 96)
    assert settle(request(data="imagefolder:here")).image_size == (PLAN.image_size,) * 2


def test_images_that_are_not_square():
    config = settle(request(image_size="48x96"))
    assert config.image_size == (48, 96)
    assert (config.plan.image_size, config.plan.image_width) == (48, 96)
    assert Config.from_json(config.to_json(), "here") == config
    assert settle(request(image_size=(48, 96))) == config
    by_key = settle(request(assignments=assigned(plan__image_width=96)))
    assert by_key.image_size == (48, 96)
    square = settle(request(image_size="64x64"))
    assert (square.image_size, square.plan.image_width) == ((64, 64), 0)
    assert square == settle(request(image_size=64))
    with pytest.raises(UserError, match=r"plan\.image_width must be 0 or more"):
        settle(request(assignments=assigned(plan__image_width=-1)))
    with pytest.raises(UserError, match="at least 32 pixels, not 16"):
        settle(request(image_size="96x16", assignments=["backbone.stem=published"]))


def test_the_stem_follows_the_image_size():
    stems = {size: settle(request(image_size=size)).stem for size in (32, 40, 41, 64)}
    assert stems == {32: "small", 40: "small", 41: "published", 64: "published"}
    set_by_hand = settle(request(image_size=32, assignments=["backbone.stem=published"]))
    assert set_by_hand.stem == "published"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"backbone": "mobilnetv2"}, r"unknown backbone 'mobilnetv2'; did you mean 'mobilenetv2'"),
        ({"space": "poling"}, r"unknown space 'poling'; did you mean 'pooling'.*\.toml"),
        ({"space": "none.toml"}, r"there is no file none\.toml"),
        ({"strategy": "dart"}, r"unknown strategy 'dart'.*pmpl"),
        ({"device": "gpu"}, r"unknown device 'gpu'.*auto, cpu, cuda, mps"),
        ({"budget": "fast"}, "unknown budget 'fast'"),
        ({"image_size": 12}, r"small stem needs images of at least 16 pixels, not 12"),
        (
            {"image_size": 31, "assignments": ("backbone.stem=published",)},
            r"published stem needs images of at least 32 pixels, not 31",
        ),
        ({"image_size": -5}, r"an image has at least one pixel a side, not -5"),
        ({"plan": Path("nowhere.json")}, r"there is no file nowhere\.json"),
        ({"assignments": ("pmpl.tau=1",)}, r"unknown setting 'pmpl\.tau'"),
        ({"assignments": ("backbone.stem=tiny",)}, r"backbone\.stem: 'tiny' is not auto"),
        ({"assignments": ("pmpl.deadline=never",)}, r"pmpl\.deadline 'never'.*argmax, pair"),
        ({"assignments": ("pmpl.null=noise",)}, r"pmpl\.null 'noise'"),
        ({"assignments": ("plan.search_epochs=0",)}, r"plan\.search_epochs must be 1 or more"),
        ({"assignments": ("pmpl.alpha_every=0",)}, r"pmpl\.alpha_every must be 1 or more"),
        ({"assignments": ("pmpl.average=1",)}, r"pmpl\.average must be 0 or more and below 1"),
        ({"caps": (("macs", 1e6),), "assignments": ("pmpl.deadline=pair",)}, "caps do not count"),
        ({"assignments": ("recipe.lr=-1",)}, r"recipe\.lr must be more than 0"),
        ({"assignments": ("augment.shift=-1",)}, "augment.shift must be 0 or more"),
        ({"assignments": ("digits.min_size=50",)}, "digits: sizes must be"),
    ],
    ids=lambda value: "" if isinstance(value, str) else "-".join(map(str, value.values())),
)
def test_every_mistake_is_told_before_anything_is_done(changes, message, tmp_path):
    out = tmp_path / "run"
    with pytest.raises(UserError, match=message) as told:
        settle(request(**changes, out=out))
    assert len(str(told.value).splitlines()) <= 2
    assert not out.exists()


def test_a_space_with_an_operator_nobody_knows_is_told(tmp_path):
    path = tmp_path / "mine.toml"
    head = 'description = "mine"\nform = "residual"\n[[operators]]\n'
    path.write_text(head + 'name = "max_pol"\nkernel = 3\n')
    with pytest.raises(UserError, match=r"unknown operator 'max_pol'; did you mean 'max_pool'"):
        settle(request(space=str(path)))
    path.write_text(head + 'name = "max_pool"\nkernel = 4\n')
    with pytest.raises(UserError, match="odd number from 3 on, not 4"):
        settle(request(space=str(path)))


@pytest.mark.parametrize("text", ["", "-3M", "0", "much", "3T", "0.5", "0.0004k"])
def test_an_amount_is_positive(text):
    with pytest.raises(UserError, match="--max-macs takes a number above 0 such as 250M"):
        parse_caps(text, None, None)


@pytest.mark.parametrize(
    ("text", "count"),
    [("60m", 60_000_000), ("60M", 60_000_000), ("1.5g", 1_500_000_000), ("7k", 7000),
     ("12", 12), (" 4.1M ", 4_100_000), ("3.23k", 3230)],
)  # fmt: skip
def test_an_amount_takes_units_in_both_cases_and_is_exact(text, count):
    assert parse_caps(text, text, None) == (("macs", count), ("params", count))


def test_a_latency_is_kept_in_milliseconds():
    assert [parse_caps(None, None, text)[0][1] for text in ("8ms", "0.5ms", "40us", "1.1s")] == [
        8.0, 0.5, 0.04, 1100.0,
    ]  # fmt: skip
    with pytest.raises(UserError, match="--max-latency takes a number above 0 such as 8ms"):
        parse_caps(None, None, "8")


def test_folders_are_named_after_what_tells_runs_apart():
    changes = {
        "space": "pmpl",
        "data": "imagefolder:a/b",
        "budget": "standard",
        "seed": 7,
        "backbone": "resnet18",
    }
    plain = request().folder
    for key, value in changes.items():
        assert request(**{key: value}).folder != plain, key
    assert len(request(data="imagefolder:a/b").folder.parts) == 2
    assert request(out=Path("here")).folder == Path("here")


# ---- JSON, hash, differences


def rich():
    return settle(
        request(
            image_size=32,
            seed=5,
            assignments=assigned(recipe__lr=0.3, slots__include="features.2.conv.1.0"),
        )
    )


def test_a_configuration_goes_to_json_and_back(tmp_path):
    config = rich()
    write_json(tmp_path / "config.json", config.to_json())
    found = Config.from_json(read_json(tmp_path / "config.json"), "config.json")
    assert found == config
    assert found.to_json() == config.to_json()


def test_the_hash_covers_everything():
    base = rich()
    seen = {base.to_json()["hash"]}
    changes = {
        "backbone": "resnet18",
        "space": "pmpl",
        "data": "cifar10",
        "budget": "paper",
        "seed": 6,
        "device": "cpu",
        "image_size": (32, 33),
        "strategy": "other",
        "operators": (*base.operators, "more"),
        "plan": replace(base.plan, threads=base.plan.threads + 1),
        "settings": {**base.settings, "recipe.lr": 0.31},
        "changed": (),
        "pretrained": True,
        "caps": (("macs", 1e6),),
    }
    assert set(changes) == set(Config.__dataclass_fields__)
    for name, value in changes.items():
        seen.add(replace(base, **{name: value}).to_json()["hash"])
    assert len(seen) == 1 + len(changes)
    assert rich().to_json()["hash"] in seen


def test_what_is_not_as_the_budget_has_it_is_recorded():
    assert settle(request()).changed == ()
    assert settle(request(data="cifar10")).changed == ()
    changed = settle(request(image_size=80, assignments=assigned(recipe__lr=0.3))).changed
    assert changed == ("plan.image_size=80", "recipe.lr=0.3")


def test_a_repeated_plan_is_no_change_unless_it_was_changed(tmp_path):
    path = tmp_path / "config.json"
    for assignments in ((), ("plan.images=300",)):
        write_json(path, settle(request(assignments=assignments)).to_json())
        assert settle(request(plan=path)).changed == assignments


def test_the_hash_is_the_same_whatever_the_order():
    config = rich()
    turned = replace(config, settings=dict(reversed(config.settings.items())))
    assert turned.to_json()["hash"] == config.to_json()["hash"]


@pytest.mark.parametrize("wrong", [{"more": 1}, {"seed": None}], ids=["adds", "misses"])
def test_a_wrong_configuration_is_told(wrong):
    record = {**rich().to_json(), **wrong}
    record = {key: value for key, value in record.items() if value is not None}
    with pytest.raises(UserError, match=rf"config\.json misses or adds {next(iter(wrong))}"):
        Config.from_json(record, "config.json")


def test_differences_are_named():
    config = rich()
    stored = json.loads(json.dumps(config.to_json()))
    assert differences(stored, config.to_json()) == []
    other = replace(
        config,
        seed=6,
        image_size=(64, 64),
        plan=replace(config.plan, width=1.0),
        settings={**config.settings, "recipe.lr": 0.1},
    )
    found = differences(stored, other.to_json())
    assert found == [
        "image_size [32, 32] → [64, 64]",
        "plan.width 0.5 → 1.0",
        "recipe.lr 0.3 → 0.1",
        "seed 5 → 6",
    ]
    del stored["settings"]["recipe.lr"]
    assert differences(stored, config.to_json()) == ["recipe.lr None → 0.3"]


def test_a_plan_file_repeats_a_run_with_another_seed(tmp_path):
    config, path = rich(), tmp_path / "config.json"
    write_json(path, config.to_json())
    again = settle(request(plan=path, seed=9))
    assert again == replace(config, seed=9)
    changed = settle(request(plan=path, seed=5, assignments=["plan.width=1.0", "recipe.lr=0.4"]))
    assert changed.plan == replace(config.plan, width=1.0)
    assert changed.settings == {**config.settings, "recipe.lr": 0.4}
