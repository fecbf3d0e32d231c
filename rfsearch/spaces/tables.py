"""Spaces from TOML: those that come with the package, by name, and a user's own, by path.

A file holds

    description = "one line"
    form = "residual"        # or "paper"; "replace": in the place of the slot's convolution

    [[operators]]
    name = "max_pool"
    kernel = 3               # every key but ``name`` is an argument of the operator

and nothing else, unless its slots may be enhanced or replaced, by choice:

    [[replacements]]
    name = "pf_max"
"""

from __future__ import annotations

import re
import tomllib
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

from rfsearch.errors import UserError, unknown
from rfsearch.spaces import checks
from rfsearch.spaces.operator import Operator
from rfsearch.spaces.space import Space


def names() -> tuple[str, ...]:
    """The spaces that come with the package, in alphabetical order."""
    files = (entry.name for entry in _folder().iterdir())
    return tuple(sorted(file.removesuffix(".toml") for file in files if file.endswith(".toml")))


def load_space(name_or_path: str | Path) -> Space:
    """A packaged space by name, or any by the path of a ``.toml`` file."""
    path = Path(name_or_path)
    if path.suffix == ".toml":
        return parse(_read(path), str(path), path.stem)
    name = str(name_or_path)
    if name not in names():
        error = unknown("space", name, names())
        raise UserError(f"{error}, or the path of a .toml file")
    file = f"{name}.toml"
    return parse((_folder() / file).read_text(encoding="utf-8"), f"search_spaces/{file}", name)


def parse(text: str, source: str, name: str) -> Space:
    """The space written in ``text``; ``source`` (a file) begins every message about it."""
    try:
        record = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"{source} is malformed TOML: {error}") from error
    except (ValueError, RecursionError) as error:  # a number of thousands of digits; deep nesting
        raise UserError(f"{source} is TOML that cannot be read: {error}") from error
    replacing = record.pop("replacements", [])
    fields = checks.table(record, source, ("description", "form", "operators"))
    operators = _operators(fields["operators"], "operators", text, source)
    replacements = _operators(replacing, "replacements", text, source)
    description = checks.text(fields["description"], f"{source}: description")
    form = checks.text(fields["form"], f"{source}: form")
    with checks.standing(source):
        held = (*operators, *replacements)
        return Space(name, form, held, description, len(replacements))


def _folder() -> Traversable:
    """The search spaces: inside an installed package, or at the top of a clone."""
    inside = resources.files("rfsearch") / "search_spaces"
    return inside if inside.is_dir() else Path(__file__).parents[2] / "search_spaces"


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise UserError(f"there is no file {path}; known spaces: {', '.join(names())}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not TOML: it must be text in UTF-8") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise UserError(f"{str(path)!r} is no name of a file: {error}") from error


def _operators(found: object, key: str, text: str, source: str) -> list[Operator]:
    entries = checks.sequence(found, f"{source}: {key}, as [[{key}]],")
    return [
        _operator(entry, _place(text, source, index, key)) for index, entry in enumerate(entries)
    ]


def _operator(entry: object, where: str) -> Operator:
    arguments = checks.any_table(entry, where)
    if "name" not in arguments:
        raise UserError(f"{where}: 'name' is missing, such as name = \"identity\"")
    return Operator.from_arguments(arguments.pop("name"), arguments, where)


def _place(text: str, source: str, index: int, key: str) -> str:
    """Where the entry stands, with its line where it has a header of its own."""
    lines = text.splitlines()
    head = re.compile(rf"\s*\[\[\s*{key}\s*\]\]")
    heads = [n for n, line in enumerate(lines, 1) if head.match(line)]
    line = f", line {heads[index]}" if index < len(heads) else ""
    return f"{source}{line}: [[{key}]] entry {index + 1}"
