"""--set KEY=VALUE: typed, checked, and every key stands in the table."""

from __future__ import annotations

import functools
import math
import re
from dataclasses import MISSING, fields, is_dataclass, replace

import pytest

from rfsearch.engine.plan import PLANS, Plan
from rfsearch.engine.settings import GROUPS, OF_EXPORT, all_keys, defaults, group, parse
from rfsearch.errors import UserError
from rfsearch.setting import ANY
from rfsearch.strategies.pmpl_settings import PMPLSettings
from rfsearch.training.recipe import Recipe

KEYS = {key.name: key for key in all_keys()}


@pytest.mark.parametrize("key", KEYS.values(), ids=KEYS.keys())
def test_every_key_is_explained_and_read_back(key):
    assert key.text
    assert "\n" not in key.text
    assert key.kind in ("int", "float", "str", "bool")
    if key.default is not None:
        assert type(key.default).__name__ == key.kind
        assert parse([f"{key.name}={key.default}"]) == {key.name: key.default}


@pytest.mark.parametrize("name", list(GROUPS))
def test_every_group_is_made_of_its_defaults(name):
    owner = GROUPS[name]
    assert is_dataclass(owner)
    assert owner.__dataclass_params__.frozen
    assert group(owner, defaults()) == owner()


def test_the_table_is_the_dataclasses():
    expected = {
        f"{name}.{field.name}" for name, owner in GROUPS.items() for field in fields(owner)
    }
    assert set(defaults()) == expected
    assert set(KEYS) == expected | {f"plan.{field.name}" for field in fields(Plan)}


def outside(limits):
    """Values just outside of these limits."""
    if limits.among:
        return ["no such word"]
    beside = [limits.least - 1, limits.above, limits.most + 1, limits.below]
    return [value for value in beside if math.isfinite(value)]


OUTSIDE = [
    (f"{name}.{item.name}", value, begin)
    for name, owner, begin in (
        *((name, owner, owner) for name, owner in {**GROUPS, **OF_EXPORT}.items()),
        ("plan", Plan, functools.partial(replace, PLANS["mobilenetv2", "quick"])),
    )
    for item in fields(owner)
    for value in outside(item.metadata["limits"])
]


@pytest.mark.parametrize(("key", "value", "begin"), OUTSIDE)
def test_what_is_outside_of_its_limits_is_named(key, value, begin):
    with pytest.raises(UserError, match=rf"\b{re.escape(key)}\b"):
        begin(**{key.partition(".")[2]: value})


def test_limits_are_of_numbers_words_and_nothing_else():
    assert len(OUTSIDE) > 60
    for item in [item for owner in (*GROUPS.values(), Plan) for item in fields(owner)]:
        limits = item.metadata["limits"]
        assert limits == ANY or (item.type == "str") == bool(limits.among)
        if item.default is not MISSING:
            limits.check(item.name, item.default)


def test_values_get_their_type():
    given = parse(
        ["recipe.lr=1e-1", "recipe.batch_size=32", "pmpl.progressive=False", "pmpl.null=signs"]
    )
    assert given == {
        "recipe.lr": 0.1,
        "recipe.batch_size": 32,
        "pmpl.progressive": False,
        "pmpl.null": "signs",
    }
    values = {**defaults(), **given}
    assert group(Recipe, values).batch_size == 32
    assert group(PMPLSettings, values) == PMPLSettings(progressive=False, null="signs")
    assert parse([]) == {}
    assert parse(["slots.include=a,b=c"]) == {"slots.include": "a,b=c"}
    assert parse(["recipe.lr=1", "recipe.lr=2"]) == {"recipe.lr": 2.0}, "the last one counts"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("pmpl.threshold", "KEY=VALUE"),
        ("", "KEY=VALUE"),
        ("pmpl.treshold=1", r"unknown setting 'pmpl\.treshold'; did you mean 'pmpl\.threshold'"),
        ("threshold=1", "unknown setting 'threshold'"),
        ("=1", "unknown setting ''"),
        ("recipe.batch_size=3.5", r"recipe\.batch_size: '3\.5' is not a whole number"),
        ("recipe.batch_size=", "not a whole number"),
        ("recipe.lr=fast", r"recipe\.lr: 'fast' is not a number"),
        ("recipe.lr=nan", r"recipe\.lr: 'nan' is not a number"),
        ("recipe.lr=inf", r"recipe\.lr: 'inf' is not a number"),
        ("pmpl.progressive=yes", "not true or false"),
        ("plan.width=wide", r"plan\.width: 'wide' is not a number"),
    ],
)
def test_mistakes_are_named(text, message):
    with pytest.raises(UserError, match=message):
        parse([text])
