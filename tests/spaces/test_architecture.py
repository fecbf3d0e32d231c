"""An architecture goes to JSON and back unchanged; what is wrong in a file is named."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rfsearch.errors import UserError
from rfsearch.spaces import FORMS, Architecture, Backbone, Choice, Input, Operator

words = st.text(min_size=1, max_size=8)
numbers = st.floats(allow_nan=False, allow_infinity=False)
positive = st.floats(0, exclude_min=True, allow_infinity=False)
scalars = st.one_of(st.booleans(), st.integers(), numbers, st.text(max_size=5))
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3).map(tuple), max_leaves=4)


def arguments(of: st.SearchStrategy) -> st.SearchStrategy:
    return st.dictionaries(words, of, max_size=3).map(lambda found: tuple(found.items()))


operators = st.builds(Operator, words, arguments(scalars))


@st.composite
def inputs(draw: st.DrawFn) -> Input:
    channels = draw(st.integers(1, 3))
    each = st.lists(numbers, min_size=channels, max_size=channels).map(tuple)
    size = draw(st.tuples(st.integers(1, 999), st.integers(1, 999)))
    spread = st.lists(positive, min_size=channels, max_size=channels).map(tuple)
    return Input(size, channels, draw(each), draw(spread))


choices = st.builds(
    Choice,
    words,
    st.sampled_from(FORMS),
    st.lists(operators, min_size=1, max_size=2, unique=True).map(tuple),
)
architectures = st.builds(
    Architecture,
    st.builds(Backbone, words, arguments(values)),
    words,
    st.lists(choices, max_size=4, unique_by=lambda choice: choice.slot).map(tuple),
    inputs(),
    st.lists(words, max_size=4).map(tuple),
)


@given(architectures)
def test_json_round_trip(architecture):
    text = json.dumps(architecture.to_json())
    back = Architecture.from_json(json.loads(text))
    assert back == architecture
    assert hash(back) == hash(architecture)
    assert json.dumps(back.to_json()) == text


def test_the_schema(architecture):
    record = architecture.to_json()
    assert list(record) == ["format", "backbone", "space", "choices", "input", "classes"]
    assert record["format"] == 1
    assert record["backbone"] == {
        "name": "mobilenetv2",
        "arguments": {"blocks": [[1, 16], [6, 2]], "stem": "small", "width": 0.5},
    }
    assert record["choices"][0] == {
        "slot": "features.2.conv.1.0",
        "form": "residual",
        "operators": [{"name": "max_pool", "arguments": {"kernel": 3}}],
    }
    assert record["input"] == {
        "image_size": [64, 48],
        "channels": 1,
        "mean": [0.25],
        "std": [0.5],
    }
    assert record["classes"] == ["zero", "one"]


def test_choices_stay_in_network_order(architecture):
    slots = ["features.2.conv.1.0", "features.10.conv.1.0", "features.3.conv.1.0"]
    back = Architecture.from_json(json.loads(json.dumps(architecture.to_json())))
    assert list(back.labels) == slots


def test_labels(architecture):
    assert list(architecture.labels.values()) == ["max 3", "identity", "avg 5 + ssp"]


def test_arguments_do_not_depend_on_the_order_they_are_given_in():
    one = Operator("strip", (("width", 3), ("height", 1)))
    other = Operator("strip", (("height", 1), ("width", 3)))
    assert one == other
    assert one.label == other.label == "strip height=1 width=3"


SCRIPT = """
import json
from rfsearch.seeds import numbers
from rfsearch.spaces import Architecture, Backbone, Input, load_space, names
space = load_space("pmpl")
rng = numbers(0, "test")
choices = space.sample([f"slot{i}" for i in range(16)], rng)
for _ in range(5):
    choices = space.mutate(choices, rng)
arguments = tuple({"width": 0.5, "stem": "small", "classes": 10}.items())
taken = Input((8, 8), 1, (0.0,), (1.0,))
found = Architecture(Backbone("b", arguments), "pmpl", choices, taken, ())
print(names(), json.dumps(found.to_json()))
"""


def test_order_does_not_depend_on_the_hash_seed():
    def told(hash_seed: str) -> str:
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        command = [sys.executable, "-c", SCRIPT]
        return subprocess.run(
            command, env=environment, check=True, capture_output=True, text=True
        ).stdout

    assert told("1") == told("2")


BAD = [
    (["format"], ..., "a.json: format must be a whole number from 1 on, not None"),
    (["format"], "1", "a.json: format must be a whole number from 1 on, not '1'"),
    (["format"], 2, "a.json has format 2; this version reads up to 1"),
    (["space"], ..., "a.json: 'space' is missing; needed: format, backbone, space"),
    (["spaec"], "x", "a.json: unknown key 'spaec'; known: format, backbone, space"),
    (["space"], 3, "a.json: space must be text, not 3"),
    (["backbone"], "resnet18", "a.json: backbone must be a table of names and values"),
    (["backbone", "name"], "", "a.json: backbone.name must be text, not ''"),
    (["backbone", "arguments", "width"], None, "a.json: backbone.arguments.width must be a"),
    (["backbone", "arguments", "blocks", 0], [{}], "a.json: backbone.arguments.blocks must be a"),
    (["choices"], {}, "a.json: choices must be a list, not {}"),
    (["choices", 1, "slot"], None, "a.json: choices[1].slot must be text, not None"),
    (["choices", 1, "slot"], "features.2.conv.1.0", "a.json: slot 'features.2.conv.1.0' is cho"),
    (["choices", 1, "form"], "residul", "a.json: choices[1]: unknown form 'residul'; did you me"),
    (["choices", 1, "form"], ..., "a.json: choices[1]: 'form' is missing"),
    (["choices", 1, "operators"], [], "a.json: choices[1]: slot 'features.10.conv.1.0' must hold"),
    (["choices", 0, "operators", 0], "ssp", "a.json: choices[0].operators[0] must be a table"),
    (["choices", 0, "operators", 0, "kernel"], 3, "a.json: choices[0].operators[0]: unknown key"),
    (
        ["choices", 0, "operators", 0, "arguments", "kernel"],
        [3],
        "a.json: choices[0].operators[0], argument 'kernel' must be a number, text, true or false",
    ),
    (["input", "image_size"], [64], "a.json: input.image_size must be [height, width], not [64]"),
    (["input", "image_size"], [64, 0], "a.json: input.image_size must be a whole number from 1"),
    (["input", "channels"], True, "a.json: input.channels must be a whole number from 1 on"),
    (["input", "channels"], 3, "a.json: input: 3 channels need as many of mean, not (0.25,)"),
    (["input", "std"], [], "a.json: input: 1 channels need as many of std, not ()"),
    (["input", "mean"], [float("nan")], "a.json: input.mean must be a finite number, not nan"),
    (["classes"], "zero", "a.json: classes must be a list, not 'zero'"),
    (["classes"], [0], "a.json: classes must be text, not 0"),
]


@pytest.mark.parametrize(("path", "value", "message"), BAD)
def test_a_wrong_record_is_named(architecture, path, value, message, changed):
    with pytest.raises(UserError) as caught:
        Architecture.from_json(changed(architecture.to_json(), path, value), "a.json")
    assert str(caught.value).startswith(message)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("record", [None, [], "text", 3, {1: 2}])
def test_what_is_no_record_at_all(record):
    with pytest.raises(UserError, match=r"^a\.json"):
        Architecture.from_json(record, "a.json")


def test_wrong_in_memory():
    with pytest.raises(UserError, match="one operator or two"):
        Choice("a", "paper", (Operator("ssp"), Operator("ssp")))
    with pytest.raises(UserError, match="twice"):
        Operator("ssp", (("a", 1), ("a", 2)))
    with pytest.raises(UserError, match="twice"):
        Backbone("resnet18", (("a", 1), ("a", 2)))
