"""The command line: options to functions, mistakes to exit code 2, nothing else."""

from __future__ import annotations

import errno
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from rfsearch.errors import UserError

app = typer.Typer(
    help="Search, explain and improve the receptive fields of convolutional networks.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Change one setting; `rfsearch settings` lists them."
    ),
]
Debug = Annotated[bool, typer.Option("--debug", help="Show tracebacks.")]

_DISK = {
    errno.ENOSPC: "no space is left there",
    errno.EDQUOT: "its quota is used up",
    errno.EACCES: "permission is denied",
    errno.EPERM: "permission is denied",
    errno.EROFS: "it is read-only",
}


@contextmanager
def explained(debug: bool) -> Iterator[None]:
    """The user's mistakes on stderr with exit code 2; an interrupt with the way to go on."""
    try:
        yield
    except KeyboardInterrupt:
        _say(f"interrupted; go on with: {_resume_command()}")
        raise typer.Exit(130) from None
    except UserError as error:
        if debug:
            raise
        _say(f"rfsearch: {error}")
        raise typer.Exit(2) from None
    except OSError as error:
        if debug or error.errno not in _DISK:
            raise
        _say(
            f"rfsearch: cannot write {error.filename or 'to disk'}: {_DISK[error.errno]}. "
            f"Put that right and go on with: {_resume_command()}"
        )
        raise typer.Exit(2) from None


def _say(text: str) -> None:
    typer.echo(text, err=True)


def _resume_command() -> str:
    words = ["rfsearch", *(word for word in sys.argv[1:] if word != "--resume")]
    return shlex.join([*words, "--resume"])


@app.command()
def run(
    backbone: Annotated[str, typer.Option(help="mobilenetv2 or resnet18.", metavar="MODEL")],
    strategy: Annotated[str, typer.Option(help="How to look for an architecture.")] = "pmpl",
    space: Annotated[
        str,
        typer.Option(
            metavar="NAME|FILE.toml", help="What a slot may hold; `rfsearch spaces` lists them."
        ),
    ] = "pooling",
    data: Annotated[
        str,
        typer.Option(
            metavar="NAME[:ROOT]",
            help="digits, fashionmnist, cifar10, imagefolder:PATH or package.module:factory.",
        ),
    ] = "digits",
    image_size: Annotated[int | None, typer.Option(metavar="N", help="Pixels a side.")] = None,
    budget: Annotated[
        str, typer.Option(help="quick, standard, paper, or a duration such as 4h.")
    ] = "quick",
    plan: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Repeat the plan in a run's config.json.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Every random stream derives from it.")] = 0,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Run folder; by default runs/ and a name made of the options."
        ),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where a run stopped.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Time real steps and print the plan; run nothing.")
    ] = False,
    download: Annotated[bool, typer.Option("--download", help="Fetch missing data.")] = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    assignments: Set = None,
    debug: Debug = False,
) -> None:
    """Search a receptive field per slot, retrain found and plain, write a report."""
    with explained(debug):
        from rfsearch.engine.config import Request
        from rfsearch.engine.whole import dry, whole

        request = Request(
            backbone=backbone,
            strategy=strategy,
            space=space,
            data=data,
            image_size=image_size,
            budget=budget,
            plan=plan,
            seed=seed,
            out=out,
            resume=resume,
            download=download,
            device=device,
            assignments=tuple(assignments or ()),
        )
        typer.echo(dry(request) if dry_run else whole(request))


@app.command()
def report(
    folders: Annotated[list[Path], typer.Argument(metavar="RUN...")], debug: Debug = False
) -> None:
    """Rebuild report.html from the files of run folders."""
    with explained(debug):
        from rfsearch.reporting import write_report

        for folder in folders:
            typer.echo(write_report(folder))


@app.command()
def spaces(
    name: Annotated[str | None, typer.Argument(metavar="[NAME|FILE.toml]")] = None,
    backbone: Annotated[
        str | None, typer.Option(metavar="MODEL", help="List the slots of this backbone too.")
    ] = None,
    debug: Debug = False,
) -> None:
    """List the search spaces, or show one."""
    with explained(debug):
        from rfsearch.engine.listing import list_space, list_spaces

        typer.echo(list_space(name, backbone) if name or backbone else list_spaces())


@app.command()
def settings(debug: Debug = False) -> None:
    """List every --set key with its default and meaning."""
    with explained(debug):
        from rfsearch.engine.listing import list_settings

        typer.echo(list_settings())
