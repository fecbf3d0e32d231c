"""Spaces from TOML: the packaged ones, round trips, and what a wrong file is told."""

from __future__ import annotations

import json
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rfsearch.errors import UserError
from rfsearch.spaces import FORMS, Operator, Space, load_space, names
from rfsearch.spaces.tables import parse

words = st.text(string.ascii_letters + string.digits + '_ "\\#[]=α', min_size=1, max_size=8)
scalars = st.one_of(
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    words,
)
operators = st.builds(
    Operator,
    words,
    st.dictionaries(words.filter(lambda word: word != "name"), scalars, max_size=3).map(
        lambda found: tuple(found.items())
    ),
)
spaces = st.builds(
    Space,
    st.just("toy"),
    st.sampled_from(FORMS),
    st.lists(operators, min_size=1, max_size=4, unique_by=lambda op: op.label).map(tuple),
    words,
)


def toml(space: Space) -> str:
    """The file of a space; JSON writes text, numbers and booleans as TOML does."""
    lines = [
        f"description = {json.dumps(space.description)}",
        f"form = {json.dumps(space.form)}",
    ]
    for operator in space.operators:
        lines += ["[[operators]]", f"name = {json.dumps(operator.name)}"]
        lines += [f"{json.dumps(key)} = {json.dumps(value)}" for key, value in operator.arguments]
    return "\n".join(lines)


@given(spaces)
def test_toml_round_trip(space):
    assert parse(toml(space), "toy.toml", "toy") == space


def test_packaged_spaces():
    assert names() == ("dilations", "kernels", "pflayer", "pmpl", "pooling")
    pmpl, pooling = load_space("pmpl"), load_space("pooling")
    pools = ("max 3", "max 5", "max 7", "avg 3", "avg 5", "avg 7")
    assert (pmpl.form, pmpl.labels) == ("paper", ("identity", "ssp", *pools))
    assert (pooling.form, pooling.labels) == ("residual", ("identity", *pools))
    assert Operator("avg_pool", (("kernel", 5),)) in pooling.operators


@pytest.mark.parametrize("name", names())
def test_packaged_spaces_round_trip_and_are_described(name):
    space = load_space(name)
    assert parse(toml(space), "file", name) == space
    assert len(space.description) <= 80


def test_a_users_own_file(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(toml(load_space("pmpl")))
    for given_path in (path, str(path)):
        mine = load_space(given_path)
        assert mine.name == "mine"
        assert mine.operators == load_space("pmpl").operators


def test_unknown_name():
    with pytest.raises(UserError) as caught:
        load_space("poling")
    assert str(caught.value) == (
        "unknown space 'poling'; did you mean 'pooling'? Known: dilations, kernels, pflayer, "
        "pmpl, pooling, or the path of a .toml file"
    )


HEAD = 'description = "d"\nform = "paper"\n'
BAD = [
    ("a = \n", "mine.toml is malformed TOML: Invalid value (at line 1, column 5)"),
    (
        f"{HEAD}[[operators]]\nname = identity\n",
        "mine.toml is malformed TOML: Invalid value (at",
    ),
    ("", "mine.toml: 'description' is missing; needed: description, form, operators"),
    (f"{HEAD}size = 3\n[[operators]]\n", "mine.toml: unknown key 'size'; known: description"),
    (f"{HEAD}operators = 3", "mine.toml: operators, as [[operators]], must be a list, not 3"),
    (
        f"{HEAD}[operators]\nname='a'",
        "mine.toml: operators, as [[operators]], must be a list",
    ),
    (f"{HEAD}operators = []", "mine.toml: space 'mine' has no operators"),
    (f"{HEAD}operators = ['ssp']", "mine.toml: [[operators]] entry 1 must be a table of names"),
    (
        f"{HEAD}[[operators]]\nname='ssp'\n\n  [[ operators ]]\nkernel = 3",
        "mine.toml, line 6: [[operators]] entry 2: 'name' is missing",
    ),
    (
        f"{HEAD}[[operators]]\nname = 3",
        "mine.toml, line 3: [[operators]] entry 1: name must be text, not 3",
    ),
    (
        f"{HEAD}[[operators]]\nname = 'max_pool'\nkernel = [3, 5]",
        "mine.toml, line 3: [[operators]] entry 1, argument 'kernel' must be a number, text, true",
    ),
    (
        f"{HEAD}[[operators]]\nname = 'max_pool'\nkernel = inf",
        "mine.toml, line 3: [[operators]] entry 1, argument 'kernel' must be a number, text, true",
    ),
    (
        f"{HEAD}[[operators]]\nname = 'ssp'\n[[operators]]\nname = 'ssp'",
        "mine.toml: space 'mine' holds operator 'ssp' twice",
    ),
    (
        "description = 'd'\nform = 'residul'\n[[operators]]\nname = 'ssp'",
        "mine.toml: unknown form 'residul'; did you mean 'residual'? Known: residual, paper",
    ),
    ("description = 'd'\nform = 3\noperators = []", "mine.toml: form must be text, not 3"),
    (
        "description = 3\nform = 'paper'\noperators = []",
        "mine.toml: description must be text, not 3",
    ),
]


@pytest.mark.parametrize(("text", "message"), BAD)
def test_a_wrong_file_is_named_with_its_place(tmp_path, monkeypatch, text, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.toml").write_text(text)
    with pytest.raises(UserError) as caught:
        load_space("mine.toml")
    assert str(caught.value).startswith(message)
    assert len(str(caught.value).splitlines()) == 1


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(UserError, match=r"there is no file .*gone\.toml; known spaces: dilations"):
        load_space(tmp_path / "gone.toml")
    (tmp_path / "folder.toml").mkdir()
    with pytest.raises(UserError, match=r"folder\.toml cannot be read: Is a directory"):
        load_space(tmp_path / "folder.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match="UTF-8"):
        load_space(tmp_path / "binary.toml")
