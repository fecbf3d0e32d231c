"""What becomes of memory that tensors gave back, on a CPU under glibc.

glibc hands large pieces back to the system as soon as they are free, and the system clears every
page of them when the next step asks again: of a step on large maps that can be near half. Told
to keep them, it is faster, and the process holds about a sixth more; that is undone by its end
alone. So by default this is for processes of our own, the command line's and those that are
started to train; one that calls `rfsearch.run` stays as it is, unless its plan says "keep".
"""

from __future__ import annotations

import ctypes
import os
import platform

from rfsearch.errors import UserError

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4
"""mallopt's parameters, of <malloc.h>."""
_NEVER, _NONE = -1, 0

_own: set[int] = set()
"""The id of this process, if it is one of our own; a fork of it is another's."""


def own() -> None:
    """Tell that nothing but this package works in this process."""
    _own.add(os.getpid())


def settle(wanted: str, device: str) -> str:
    """Carry out ``plan.allocator`` for this process, as long as it lives.

    Args:
        wanted: auto, keep or system.
        device: the kind that networks are trained on; others than a CPU have their own memory.

    Returns:
        keep or system: what "auto" came to.

    Raises:
        UserError: keep is asked for, and the C library is another one than glibc.
    """
    if wanted == "auto":
        wanted = "keep" if device == "cpu" and _is_ours_to_choose() else "system"
    if wanted == "keep" and not _kept():
        raise UserError("--set plan.allocator=keep needs glibc, the usual C library of Linux")
    return wanted


def _is_ours_to_choose() -> bool:
    """Whether the process is our own, and nobody has set up its allocator already."""
    given = any(name.startswith("MALLOC_") for name in os.environ)
    given |= "glibc.malloc" in os.environ.get("GLIBC_TUNABLES", "")
    return os.getpid() in _own and _is_glibc() and not given


def _is_glibc() -> bool:
    return platform.libc_ver()[0] == "glibc"


def _kept() -> bool:
    """No piece is a map of its own, and nothing at the end of the heap is handed back."""
    if not _is_glibc():
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return bool(mallopt(_MMAP_MAX, _NONE) and mallopt(_TRIM_THRESHOLD, _NEVER))
