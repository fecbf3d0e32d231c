"""The package's templates and files, what all pages are given, and a page put in place."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from pathlib import Path

import jinja2
from markupsafe import Markup

from rfsearch.errors import UserError
from rfsearch.reporting import colours, figures
from rfsearch.trials import replacing


@cache
def template(name: str) -> jinja2.Template:
    """A template of this package; what it is given is escaped, and nothing may be missing."""
    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        loader=jinja2.FunctionLoader(asset),
    )
    return environment.get_template(name)


def base(*names: str) -> dict[str, Markup]:
    """What ``base.html`` is given: both palettes, plotly.js, and these files of the package.

    Args:
        names: they end in ``.css`` or ``.js``, in the order in which they are to stand.
    """
    sheets = [asset(name) for name in names if name.endswith(".css")]
    scripts = [asset(name) for name in names if name.endswith(".js")]
    return {
        "style": Markup(colours.style_sheet() + "".join(sheets)),
        "script": Markup("".join(scripts)),
        "plotly": Markup(figures.script()),
        "dark": Markup(inline_json(colours.exchange())),
    }


def asset(name: str) -> str:
    """A file of this package as text."""
    return files("rfsearch.reporting").joinpath(name).read_text(encoding="utf-8")


def inline_json(values: object) -> str:
    """JSON that may stand inside a script element."""
    return json.dumps(values, separators=(",", ":")).replace("<", "\\u003c")


def put(page: str, path: Path) -> Path:
    """The page in place, as a whole or not at all."""
    try:
        with replacing(path) as partial:
            # a name of a file may be no text in any encoding
            partial.write_text(page, encoding="utf-8", errors="replace")
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from None
    return path
