"""The command line: options to functions, mistakes to exit code 2, nothing else."""

from __future__ import annotations

import errno
import gc
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from rfsearch.engine import allocator
from rfsearch.errors import UserError

UsageError: Any = typer.BadParameter.__base__  # typer's own or click's, by typer's version


class Verbs(TyperGroup):
    """The verbs; a mistaken option is told like every other mistake."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        """Run the command line and, unless asked otherwise, leave with its exit code."""
        # Libraries make a million objects as they load, and none of them goes: looking for garbage
        # among them as often as Python does would take an eighth of the time.
        gc.set_threshold(50_000, 20, 50)
        allocator.own()
        try:
            status = super().main(
                args, prog_name, complete_var, False, windows_expand_args, **extra
            )
        except UsageError as error:
            if not standalone_mode:
                raise
            _say(_usage(error))
            sys.exit(2)
        if not standalone_mode:
            return status
        sys.exit(status if isinstance(status, int) else 0)


def _usage(error: Any) -> str:
    """What is wrong with an option, what it is for, and where the options are listed."""
    verb = " ".join(["rfsearch", *([error.ctx.info_name] if _of_a_verb(error) else [])])
    about = (getattr(getattr(error, "param", None), "help", None) or "").rstrip(".")
    told = " ".join(error.format_message().split()).rstrip(".")
    return (
        f"{verb}: {told}{f' ({about})' if about else ''}\n`{verb} --help` lists what is possible"
    )


def _of_a_verb(error: Any) -> bool:
    return error.ctx is not None and error.ctx.parent is not None


app = typer.Typer(
    cls=Verbs,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Change one setting, and more by further --set; `rfsearch settings` lists them.",
    ),
]
Data = Annotated[
    str,
    typer.Option(
        metavar="NAME[:ROOT]",
        help="digits, fashionmnist, cifar10, imagefolder:PATH, csv:FILE (columns path, label), "
        "torchvision:NAME or package.module:factory.",
    ),
]
ImageSize = Annotated[
    str | None,
    typer.Option(metavar="N|HxW", help="Pixels a side; by default the data's or the plan's."),
]
Budget = Annotated[
    str,
    typer.Option(metavar="NAME", help="quick, standard, paper, or a duration such as 4h."),
]
Download = Annotated[bool, typer.Option("--download", help="Fetch data that is missing.")]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Time real steps and print the plan; run nothing.")
]
Pretrained = Annotated[
    bool, typer.Option("--pretrained", help="Published weights, if they lie on this machine.")
]
Device = Annotated[str, typer.Option(metavar="NAME", help="auto, cpu, cuda or mps.")]
ExecutorName = Annotated[
    str,
    typer.Option(
        "--executor",
        metavar="NAME",
        help="Where trials, or cells, are made: inline (this machine) or ray (a cluster).",
    ),
]
RayAddress = Annotated[
    str | None,
    typer.Option(
        "--ray-address",
        metavar="ADDR",
        help="Of a Ray cluster's head, HOST:PORT; by default RAY_ADDRESS, or a cluster of this "
        "machine alone.",
    ),
]
Storage = Annotated[
    str | None,
    typer.Option(
        "--storage",
        metavar="URL",
        envvar="RFSEARCH_STORAGE",
        help="Database that the study is kept in, by default the run folder: "
        "postgresql://USER:PASSWORD@HOST/NAME. It is written down nowhere; the variable keeps it "
        "out of the list of processes.",
    ),
]
MaxMacs = Annotated[
    str | None,
    typer.Option("--max-macs", metavar="N", help="Most multiply-adds of a found network: 250M."),
]
MaxParams = Annotated[
    str | None,
    typer.Option("--max-params", metavar="N", help="Most parameters of a found network: 3M."),
]
MaxLatency = Annotated[
    str | None,
    typer.Option(
        "--max-latency", metavar="N", help="Most time of a found network for one image: 8ms."
    ),
]
Debug = Annotated[bool, typer.Option("--debug", help="Show tracebacks.")]

_DISK = {
    errno.ENOSPC: "no space is left there",
    errno.EDQUOT: "its quota is used up",
    errno.EFBIG: "files may not grow that large there",
    errno.EACCES: "permission is denied",
    errno.EPERM: "permission is denied",
    errno.EROFS: "it is read-only",
}


@contextmanager
def explained(debug: bool, *, resumable: bool = False) -> Iterator[None]:
    """The user's mistakes on stderr with exit code 2; an interrupt with the way to go on, and
    SIGTERM alike."""
    try:
        with _heeding_sigterm() if resumable else nullcontext():
            yield
    except KeyboardInterrupt:
        go_on = f"; go on with: {_resume_command()}" if resumable else ""
        if not _follows():
            _say(f"rfsearch: interrupted{go_on}")
        raise typer.Exit(130) from None
    except Exception as error:
        told = _told(error, resumable)
        if told is None:
            error.add_note("This is a fault of rfsearch and not yours; please report it.")
        if debug or told is None:
            raise
        if not (isinstance(error, UserError) and _follows()):
            _say(f"rfsearch: {told}")
        raise typer.Exit(2) from None


def _heeding_sigterm() -> AbstractContextManager[None]:
    from rfsearch.engine.preemption import heeded

    return heeded()


def _follows() -> bool:
    """Whether this is one of several processes that train together and not the first: it makes
    the same mistakes, and one tells of them."""
    from rfsearch.training.ranks import ranks

    return ranks().rank > 0


def _told(error: Exception, resumable: bool) -> str | None:
    """What the user is told of something that is theirs to put right; None of a fault of ours."""
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, OSError) and error.errno in _DISK:
        go_on = f". Put that right and go on with: {_resume_command()}" if resumable else ""
        return f"cannot write {error.filename or 'to disk'}: {_DISK[error.errno]}{go_on}"
    if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
        return f"{str(error.filename)[:60]}... is a longer name than a file may have here"
    if type(error).__name__ == "OutOfMemoryError":
        return (
            "the memory of the GPU is used up; take smaller batches (--set recipe.batch_size=N, "
            "--set pmpl.alpha_batch=N), smaller images (--image-size) or --device cpu"
        )
    names = {kind.__name__ for kind in type(error).__mro__}  # torch's, without importing it
    if "MemoryError" in names or "DefaultCPUAllocator" in str(error):
        return (
            "there is not enough memory; take smaller images (--image-size), fewer "
            "(--set plan.images=N) or smaller batches (--set recipe.batch_size=N)"
        )
    return None


def _say(text: str) -> None:
    """On stderr; what a name holds beside letters could move the cursor, or worse."""
    shown = (c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in text)
    typer.echo("".join(shown), err=True)


def _resume_command() -> str:
    words = [word for word in sys.argv[1:] if word != "--resume"]
    for index, word in enumerate(words):  # a database's URL is shown nowhere
        if word.startswith("--storage="):
            words[index] = "--storage=URL"
        elif index and words[index - 1] == "--storage":
            words[index] = "URL"
    return shlex.join(["rfsearch", *words, "--resume"])


def _reach_modules_here(spec: str) -> None:
    """Let ``package.module:factory`` name a module in the current folder, as `python -m` does."""
    from rfsearch.data import DATASETS

    name, colon, function = spec.partition(":")
    known = (*DATASETS, "torchvision", "timm")
    if colon and name not in known and function.isidentifier():
        sys.path.insert(0, str(Path.cwd()))


@app.callback(invoke_without_command=True)
def verbs(context: typer.Context) -> None:
    """Search, explain and improve the receptive fields of convolutional networks.

    To begin: rfsearch run --backbone mobilenetv2
    """
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command(short_help="Search the fields of a network, train it, write a report.")
def run(
    backbone: Annotated[
        str,
        typer.Option(
            metavar="MODEL",
            help="mobilenetv2, resnet18 or rfnet6; resnet50, ..., torchvision:NAME, timm:NAME or "
            "package.module:factory.",
        ),
    ],
    strategy: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="How to look for an architecture: pmpl, pmpl-trials, darts, random-shared, "
            "random, tpe, gp, nsga2, asha, evolution, nni-darts, nni-gumbel, nni-tpe, nni-random, "
            "nni-evolution; to take pmpl apart: pmpl-all, pmpl-paths, pmpl-even, pmpl-near, "
            "pmpl-mixed, pmpl-tau, pmpl-one-norm, pmpl-masked, pmpl-subset, pmpl-sampled.",
        ),
    ] = "pmpl",
    space: Annotated[
        str,
        typer.Option(
            metavar="NAME|FILE.toml", help="What a slot may hold; `rfsearch spaces` lists them."
        ),
    ] = "pooling",
    data: Data = "digits",
    image_size: ImageSize = None,
    budget: Budget = "quick",
    plan: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Repeat the plan and settings of a run's config.json."),
    ] = None,
    seed: Annotated[
        int, typer.Option(metavar="N", help="Every random stream of the run derives from it.")
    ] = 0,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Run folder; by default runs/ and a name made of the options."
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on where a run stopped, to the same end.")
    ] = False,
    dry_run: DryRun = False,
    download: Download = False,
    pretrained: Pretrained = False,
    device: Device = "auto",
    devices: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Devices of this machine that train one network together, a process for each; "
            "by default 1, or as torchrun or srun started them.",
        ),
    ] = None,
    num_nodes: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Machines that do so, each given this command; with NODE_RANK and MASTER_ADDR.",
        ),
    ] = None,
    max_macs: MaxMacs = None,
    max_params: MaxParams = None,
    max_latency: MaxLatency = None,
    executor: ExecutorName = "inline",
    ray_address: RayAddress = None,
    storage: Storage = None,
    assignments: Set = None,
    debug: Debug = False,
) -> None:
    """Search a receptive field for every slot of a network; train what was found from scratch,
    and the plain network beside it; leave a run folder with report.html.
    """
    with explained(debug, resumable=not dry_run):
        from rfsearch.engine.config import Request, parse_caps
        from rfsearch.engine.together import begun_by
        from rfsearch.engine.whole import dry, whole

        _reach_modules_here(data)
        _reach_modules_here(backbone)
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
            pretrained=pretrained,
            device=device,
            caps=parse_caps(max_macs, max_params, max_latency),
            executor=executor,
            ray_address=ray_address,
            storage=storage,
            assignments=tuple(assignments or ()),
        )
        code = begun_by(request, devices, num_nodes)
        if code is None and (told := dry(request) if dry_run else whole(request)):
            typer.echo(told)
    raise typer.Exit(code or 0)


@app.command("compare", short_help="Compare strategies at equal cost, with controls.")
def compare_(
    strategies: Annotated[
        str,
        typer.Option(
            metavar="NAME[:KEY=VALUE],...",
            help="Arms with commas between, as `rfsearch run --help` lists them; an arm may "
            "change its own settings, as in pmpl:threshold=0.3.",
        ),
    ] = "pmpl,random,tpe",
    seeds: Annotated[
        str, typer.Option(metavar="N,...", help="Search seeds; six or more carry a verdict.")
    ] = "0,1,2",
    backbone: Annotated[
        str | None,
        typer.Option(metavar="MODEL", help="By default rfnet6 for quick, else mobilenetv2."),
    ] = None,
    space: Annotated[
        str, typer.Option(metavar="NAME|FILE.toml", help="What a slot may hold.")
    ] = "pooling",
    data: Data = "digits",
    image_size: ImageSize = None,
    budget: Budget = "quick",
    plan: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Repeat the plans of a comparison's config.json."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder; by default runs/ and a name of the options."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on where a comparison stopped, to the same end.")
    ] = False,
    dry_run: DryRun = False,
    download: Download = False,
    device: Device = "auto",
    max_macs: MaxMacs = None,
    max_params: MaxParams = None,
    max_latency: MaxLatency = None,
    executor: ExecutorName = "inline",
    ray_address: RayAddress = None,
    storage: Storage = None,
    assignments: Set = None,
    debug: Debug = False,
) -> None:
    """Compare strategies with each other and with networks that were not searched: every search
    costs the same measured seconds, every final network is trained by one recipe.
    """
    with explained(debug, resumable=not dry_run):
        from rfsearch.engine.compare import compare, dry
        from rfsearch.engine.compare_plan import CompareRequest
        from rfsearch.engine.config import parse_caps

        _reach_modules_here(data)
        _reach_modules_here(backbone or "")
        request = CompareRequest(
            strategies=strategies,
            seeds=seeds,
            backbone=backbone,
            space=space,
            data=data,
            image_size=image_size,
            budget=budget,
            plan=plan,
            out=out,
            device=device,
            resume=resume,
            download=download,
            caps=parse_caps(max_macs, max_params, max_latency),
            executor=executor,
            ray_address=ray_address,
            storage=storage,
            assignments=tuple(assignments or ()),
        )
        typer.echo(dry(request) if dry_run else compare(request))


@app.command(short_help="Tell what every layer of a network sees.")
def analyze(
    models: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL|RUN [MODEL|RUN]",
            help="mobilenetv2, resnet50, ..., torchvision:NAME, timm:NAME, "
            "package.module:factory or a run folder; two are compared.",
        ),
    ],
    image_size: Annotated[
        str | None,
        typer.Option(metavar="N|HxW", help="Pixels, such as 224 or 224x320; of a run its own."),
    ] = None,
    effective: Annotated[
        bool, typer.Option("--effective", help="Measure effective fields, on --data or noise.")
    ] = False,
    data: Annotated[
        str | None,
        typer.Option(metavar="NAME[:ROOT]", help="Images for effective fields and pictures."),
    ] = None,
    pretrained: Pretrained = False,
    seed: Annotated[int, typer.Option(metavar="N", help="Of random weights and noise.")] = 0,
    verify: Annotated[
        bool, typer.Option("--verify", help="Compare with a probe that shares no code.")
    ] = False,
    ignore_unknown: Annotated[
        bool,
        typer.Option(
            "--ignore-unknown", help="Go on behind operators without a rule: “at least” after."
        ),
    ] = False,
    gain: Annotated[
        bool,
        typer.Option("--gain", help="What every layer adds, in pixels and channels (3DRF-style)."),
    ] = False,
    form: Annotated[
        str | None,
        typer.Option(
            "--format",
            metavar="NAME",
            help="table, csv, json or html; by default as --out ends, else table.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="PATH", help="File to write; html by default into this folder."),
    ] = None,
    assignments: Set = None,
    debug: Debug = False,
) -> None:
    """Tell what every layer of a network sees, exactly: fields, cost, and which layers see nothing
    new at this image size. Nothing is trained and nothing downloaded.
    """
    with explained(debug):
        from rfsearch.engine.analyze import Options, analyze_and_tell

        for model in models:
            _reach_modules_here(model)
        options = Options(
            image_size=image_size,
            effective=effective,
            data=data,
            pretrained=pretrained,
            seed=seed,
            verify=verify,
            ignore_unknown=ignore_unknown,
            gain=gain,
            assignments=tuple(assignments or ()),
        )
        text, agree = analyze_and_tell(models, options, form, out, _columns(), _say)
        typer.echo(text)
    if not agree:
        raise typer.Exit(1)


@app.command(short_help="Propose a better network from the definition alone.")
def optimize(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL", help="resnet18 to resnet152, mobilenetv2, vgg11 to vgg19."
        ),
    ],
    level: Annotated[
        str, typer.Option(metavar="NAME", help="stage (blocks, strides, stem), kernel or both.")
    ],
    epsilon: Annotated[
        float,
        typer.Option(metavar="SHARE", help="Of a stage's score that cheaper kernels may give up."),
    ] = 0.05,
    max_macs: Annotated[
        str | None,
        typer.Option(metavar="M", help="Most multiply-adds, such as 250M; else the original's."),
    ] = None,
    max_params: Annotated[
        str | None,
        typer.Option(metavar="P", help="Most parameters, such as 3M; else the original's."),
    ] = None,
    image_size: Annotated[
        str, typer.Option(metavar="N|HxW", help="Pixels the network is to be good for.")
    ] = "224",
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder to write; by default in runs/.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on where a retraining stopped, to the same end.")
    ] = False,
    retrain: Annotated[
        bool, typer.Option("--retrain", help="Train original and proposal under one recipe.")
    ] = False,
    data: Annotated[
        str, typer.Option(metavar="NAME[:ROOT]", help="Data of the retraining.")
    ] = "digits",
    budget: Annotated[
        str, typer.Option(metavar="NAME", help="Of the retraining: quick, standard or paper.")
    ] = "quick",
    seed: Annotated[int, typer.Option(metavar="N", help="Of the search and retraining.")] = 0,
    download: Download = False,
    assignments: Set = None,
    debug: Debug = False,
) -> None:
    """Move blocks, strides and kernels of a network to where they add to what it sees
    (3DRF-style, a reconstruction). Nothing is trained unless asked; weights are never changed.
    """
    with explained(debug, resumable=True):
        from rfsearch.engine.optimize import Options, optimize_and_tell

        _reach_modules_here(model)
        _reach_modules_here(data)
        options = Options(
            level=level,
            epsilon=epsilon,
            max_macs=max_macs,
            max_params=max_params,
            image_size=image_size,
            out=out,
            resume=resume,
            retrain=retrain,
            data=data,
            budget=budget,
            seed=seed,
            download=download,
            assignments=tuple(assignments or ()),
        )
        typer.echo(optimize_and_tell(model, options, _columns(), _say))


def _columns() -> int:
    """Columns of the terminal; a hundred where there is none."""
    from shutil import get_terminal_size

    return max(60, min(160, get_terminal_size((100, 24)).columns))


@app.command()
def report(
    folders: Annotated[
        list[Path], typer.Argument(metavar="RUN...", help="Folders of finished runs.")
    ],
    debug: Debug = False,
) -> None:
    """Rebuild report.html from the files of run folders."""
    with explained(debug):
        from rfsearch.reporting import rewrite_report

        for folder in folders:
            typer.echo(rewrite_report(folder))


@app.command(short_help="Write the found network as files that need no rfsearch.")
def export(
    folder: Annotated[
        Path, typer.Argument(metavar="RUN", help="Folder of a finished run, or of optimize.")
    ],
    form: Annotated[
        str,
        typer.Option(
            "--format",
            metavar="NAME",
            help="torch (state dict), code (network.py and weights, which need torch alone), pt2 "
            "(torch.export) or onnx.",
        ),
    ],
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder to write; by default RUN/export.")
    ] = None,
    assignments: Set = None,
    debug: Debug = False,
) -> None:
    """Write the found network as files that work without rfsearch. What was written is run, and
    stays only if it gives the same outputs.
    """
    with explained(debug):
        from rfsearch.engine.export import export_and_tell

        typer.echo(export_and_tell(folder, form, out, assignments or ()))


@app.command()
def spaces(
    name: Annotated[
        str | None,
        typer.Argument(metavar="[NAME|FILE.toml]", help="Show the operators of this space."),
    ] = None,
    backbone: Annotated[
        str | None, typer.Option(metavar="MODEL", help="Show the slots of this backbone.")
    ] = None,
    debug: Debug = False,
) -> None:
    """List the search spaces, or show one."""
    with explained(debug):
        from rfsearch.spaces import load_space

        if name:
            load_space(name)  # a mistake is told before torch is loaded, which takes seconds
        from rfsearch.engine.listing import list_space, list_spaces

        _reach_modules_here(backbone or "")
        typer.echo(list_space(name, backbone) if name or backbone else list_spaces())


@app.command()
def settings(debug: Debug = False) -> None:
    """List every --set key with its default and meaning."""
    with explained(debug):
        from rfsearch.engine.listing import list_settings

        typer.echo(list_settings())
