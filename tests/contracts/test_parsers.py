"""Every parser, on anything: it reads what it is given, or says in a line or two what is wrong.

Texts are of any letters and of pieces that nearly fit; records are whole ones with one value in
any place exchanged for any other.
"""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import nn

from rfsearch import spaces
from rfsearch.backbones import slots
from rfsearch.backbones.realise import realise
from rfsearch.data.table import read_rows
from rfsearch.engine.compare_plan import parse_arms, parse_seeds
from rfsearch.engine.config import Config, Request, parse_caps, settle
from rfsearch.engine.plan import Plan, named_plan
from rfsearch.engine.settings import all_keys, parse
from rfsearch.engine.sizes import parse_sides, parse_size
from rfsearch.errors import UserError
from rfsearch.optimize import proposal
from rfsearch.spaces import Architecture, tables
from rfsearch.training import checkpoint
from rfsearch.trials import History, read_json

few = settings(max_examples=25)


def read_or_told(function, *arguments):
    """Nothing but a `UserError`, of one line or two."""
    told = ["nothing"]
    try:
        function(*arguments)
    except UserError as error:
        told = str(error).splitlines()
    assert 1 <= len(told) <= 2, told


@pytest.fixture(scope="module")
def place():
    """A folder for one file after the other."""
    with TemporaryDirectory() as folder:
        yield Path(folder)


# ---- what is tried

odd = st.sampled_from(
    [10**400, -(10**400), 2**63, -1, 0, 1e308, "", "nan", "argmax", "\x00", "\n"]
)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6) | odd,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)


def places(record, path=()):
    """Every path into a record."""
    yield path
    inner = record if isinstance(record, dict) else dict(enumerate(record))
    for key, value in inner.items():
        if isinstance(value, dict | list):
            yield from places(value, (*path, key))
        else:
            yield (*path, key)


def exchanged(record, path, value):
    """A copy with another value at the path."""
    if not path:
        return value
    record = json.loads(json.dumps(record))
    inner = record
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return record


def nearly(record):
    """The record with one value exchanged, or something else altogether."""
    changes = st.tuples(st.sampled_from(list(places(record))), values)
    return values | changes.map(lambda change: exchanged(record, *change))


def pieces(*words):
    """Texts made of these, or of anything."""
    return st.text(max_size=40) | st.lists(st.sampled_from(words), max_size=10).map("".join)


def torn(content):
    """The bytes cut anywhere, or with one of them another."""
    cut = st.integers(0, len(content)).map(lambda size: content[:size])
    flips = st.tuples(st.integers(0, len(content) - 1), st.integers(0, 255))
    flipped = flips.map(lambda at: content[: at[0]] + bytes([at[1]]) + content[at[0] + 1 :])
    return st.binary(max_size=100) | cut | flipped


BACKBONE = spaces.Backbone("rfnet6", (("width", 0.25), ("channels", 1), ("classes", 2)))
HELD = [{"name": "max_pool", "arguments": {"kernel": 3}}]
ARCHITECTURE = {
    "format": 1,
    "backbone": BACKBONE.to_json(),
    "space": "pooling",
    "choices": [
        {"slot": slot.name, "form": "residual", "operators": HELD} for slot in slots(BACKBONE)
    ],
    "input": {"image_size": [32, 32], "channels": 1, "mean": [0.5], "std": [0.25]},
    "classes": ["ant", "bee"],
}
CONFIG = json.loads(json.dumps(settle(Request(backbone="rfnet6")).to_json()))
PLAN = CONFIG["plan"]
KEYS = [key.name for key in all_keys()]


# ---- texts


@few
@given(
    pieces(
        *('description = "a"\n', 'form = "residual"\n', 'form = "replace"\n', "[[operators]]\n"),
        *("[[replacements]]\n", 'name = "max_pool"\n', 'name = "identity"\n', "kernel = 3\n"),
        *("kernel = -3\n", "kernel = 1e400\n", "kernel = 1979-05-27\n", "name = 3\n", "= \n"),
        *("operators = []\n", "replacements = 3\n", '"" = 3\n', "\x00", "[a.b]\n", "x = {a=1}\n"),
    )
)
@example("a = " + "[" * 5000)
@example("a = " + "9" * 5000)
def test_spaces(text):
    read_or_told(tables.parse, text, "mine.toml", "mine")


@few
@given(pieces("pmpl", "tpe", ":", ",", "=", "threshold", "1", " "))
def test_strategies_and_seeds(text):
    read_or_told(parse_arms, text)
    read_or_told(parse_seeds, text)


@few
@given(
    st.text(max_size=20)
    | st.from_regex(r"\s?\d{1,400}(\.\d+)?(us|ms|s|m|min|h|k|K|M|G)?\s?", fullmatch=True)
    | st.from_regex(r"[0-9x×]{1,30}", fullmatch=True)
)
@example("9" * 5000)
def test_sizes_caps_and_durations(text):
    read_or_told(parse_size, text)
    read_or_told(parse_sides, text)
    read_or_told(parse_caps, text, text, None)
    read_or_told(parse_caps, None, None, text)
    read_or_told(named_plan, "rfnet6", text)


assignments = st.text(max_size=20) | st.tuples(
    st.sampled_from(KEYS),
    st.text(max_size=8)
    | (st.integers() | st.floats()).map(str)
    | st.sampled_from(["true", "0", "1", "-1", "1e308", "9" * 5000]),
).map("=".join)


@few
@given(st.lists(assignments, max_size=3))
def test_assignments(given_):
    read_or_told(parse, given_)
    read_or_told(settle, Request(backbone="rfnet6", assignments=tuple(given_)))


# ---- records


@few
@given(nearly(ARCHITECTURE))
def test_architectures(record):
    read_or_told(lambda: realise(Architecture.from_json(record, "architecture.json")))


@few
@given(nearly(CONFIG))
def test_configurations(record):
    read_or_told(Config.from_json, record, "config.json")


@few
@given(nearly(PLAN))
def test_plans(record):
    read_or_told(Plan.from_json, record, "config.json")


# ---- files


@few
@given(st.binary(max_size=60) | values.map(lambda value: json.dumps(value).encode()))
def test_json(place, content):
    path = place / "any.json"
    path.write_bytes(content)
    read_or_told(read_json, path)
    read_or_told(proposal.load, path)
    assert proposal.is_proposal(path) in (True, False)
    path.write_bytes(content + b"\n")
    read_or_told(History(path).read)


@few
@given(
    st.binary(max_size=100)
    | st.text("path,label\n\"';\r\0é1", max_size=60).map(
        lambda text: ("path,label\n" + text).encode()
    )
)
def test_csv(place, content):
    (place / "any.csv").write_bytes(content)
    read_or_told(read_rows, place / "any.csv")


def written(save):
    with TemporaryDirectory() as folder:
        save(Path(folder, "file"))
        return Path(folder, "file").read_bytes()


NETWORK = nn.Linear(2, 2)
WEIGHTS = written(lambda path: checkpoint.save_weights(path, NETWORK))
STATE = written(lambda path: checkpoint.save(path, {"phase": "found-0", "x": torch.arange(4.0)}))


@few
@given(torn(WEIGHTS))
def test_weights(place, content):
    (place / "model.safetensors").write_bytes(content)
    read_or_told(checkpoint.load_weights, place / "model.safetensors", NETWORK)


@few
@given(torn(STATE))
def test_checkpoints(place, content):
    (place / "state.pt").write_bytes(content)
    read_or_told(checkpoint.load, place / "state.pt")
