"""C beside this package, compiled once per machine for the processor it runs on.

No compiler is asked of anybody: where there is none, or it fails, `library` says why and its
caller goes another way. A library is kept in the user's cache under a name made from its source
and from everything the compiler defines, its version and the processor's instructions among that.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

from rfsearch.home import home

FLAGS = ("-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math", "-fPIC")
"""Of the compiler. NaN and infinity keep their meaning: no fast mathematics."""
OPENMP = ("-fopenmp",)
"""For threads. The runtime is not linked: torch has one loaded, and two would fight for cores."""


@cache
def library(source: Path, real: str) -> ctypes.CDLL | str:
    """The library of a C source with REAL defined as ``real``, or a line on why there is none."""
    compiler = shutil.which(os.environ.get("CC", "cc"))
    if compiler is None:
        return "no C compiler was found"
    try:
        flags = (*FLAGS, f"-DREAL={real}")
        return _first((compiler, *flags, *OPENMP), (compiler, *flags), source)
    except (OSError, subprocess.SubprocessError) as error:
        return f"{compiler} failed: {error}"


def _first(threaded: tuple[str, ...], plain: tuple[str, ...], source: Path) -> ctypes.CDLL:
    try:
        return ctypes.CDLL(str(_built(threaded, source)))
    except (OSError, subprocess.SubprocessError):  # no OpenMP, or none that torch brought
        return ctypes.CDLL(str(_built(plain, source)))


def _built(command: tuple[str, ...], source: Path) -> Path:
    """The path of the compiled library; compiled where it is not there yet."""
    defined = _run([*command, "-dM", "-E", "-x", "c", os.devnull])
    name = hashlib.sha256(repr(command).encode() + defined + source.read_bytes()).hexdigest()
    path = _folder() / f"{source.stem}-{name[:16]}.so"
    if not path.exists():
        with tempfile.TemporaryDirectory(dir=path.parent) as made:
            compiled, linked = Path(made, "part.o"), Path(made, "whole.so")
            _run([*command, "-c", str(source), "-o", str(compiled)])
            _run([command[0], "-shared", str(compiled), "-o", str(linked)])
            linked.replace(path)  # whole, whoever else compiles it now
    return path


def _run(command: list[str]) -> bytes:
    return subprocess.run(command, capture_output=True, check=True, timeout=120).stdout


@cache
def _folder() -> Path:
    """A folder of this user's alone."""
    try:
        folder = home()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder):
            return folder
    except OSError:
        return Path(tempfile.mkdtemp(prefix="rfsearch-"))
