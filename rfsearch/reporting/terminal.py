"""The result of a run in a few plain lines, for the console."""

from __future__ import annotations

from textwrap import fill

from rfsearch.reporting.figure_data import cost
from rfsearch.reporting.quantities import seconds
from rfsearch.reporting.records import Records
from rfsearch.reporting.verdict import verdict
from rfsearch.trials import RunFolder


def summary(records: Records, width: int = 88) -> str:
    """The first lines of the report, wrapped to ``width``, and where the rest is.

    The same sentences as on the page, so that neither says more than the other.
    """
    said = verdict(records)
    paragraphs = [
        said.headline,
        f"{said.interval} {said.seeds}",
        said.choices,
        said.cost,
        f"Took {seconds(cost(records).total)}.",
    ]
    lines = [fill(paragraph, width, break_long_words=False) for paragraph in paragraphs]
    return "\n".join([*lines, f"Report: {RunFolder(records.folder).report}"])
