"""What a run says: records -> frames -> figure data -> figures -> one offline HTML page.

Nothing here can start or continue a run; a page is rebuilt from the run folder alone. The heavy
libraries (pandas, plotly, jinja2, rich) load when a function needs them.
"""

from __future__ import annotations

from pathlib import Path
from shutil import get_terminal_size

__all__ = ["rewrite_report", "summarise", "write_report"]


def write_report(run_folder: Path) -> Path:
    """Write ``report.html`` into the folder of a finished run or comparison; its path.

    A folder that is missing, is no run or is not finished raises ``UserError``.
    """
    from rfsearch.errors import UserError
    from rfsearch.reporting.compare_records import is_comparison

    folder = Path(run_folder)
    if (folder / "proposal.json").exists():
        raise UserError(
            f"{folder} holds a proposal, whose page `rfsearch optimize` wrote; "
            "`rfsearch report` takes folders of run and compare"
        )
    if is_comparison(folder):
        from rfsearch.reporting import compare_page  # and scipy, which a run's page does without

        return compare_page.write(folder)
    from rfsearch.reporting import page

    return page.write(folder)


def rewrite_report(run_folder: Path) -> Path:
    """`write_report` of a folder whose files others may have changed since they were written."""
    from rfsearch.errors import UserError

    try:
        return write_report(run_folder)
    except UserError:
        raise
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise UserError(
            f"{run_folder} holds a value that no run writes ({type(error).__name__}: "
            f"{' '.join(str(error).split())[:200]}); restore its files, or see where with --debug"
        ) from error


def summarise(run_folder: Path) -> str:
    """The result of a finished run in a few plain lines, for the console."""
    from rfsearch.reporting.records import read
    from rfsearch.reporting.terminal import summary

    return summary(read(Path(run_folder)), min(88, get_terminal_size((88, 24)).columns))
