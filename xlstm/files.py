"""Write a file whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterable
from typing import Any


def write_whole(path: Any, parts: Iterable[bytes]) -> None:
    """Write `parts` to a temporary file beside `path`, sync it, and rename it over `path`.

    A reader, or whoever looks after a crash, finds the old file or the new one. The new one has the permissions of the
    old, or those of any new file.

    Raises
    ------
    OSError
        If it cannot be written; an older file is then untouched, and nothing is left beside it.
    """
    path = check_target(path)
    temporary = os.path.join(os.path.dirname(path), f".xlstm-{os.urandom(6).hex()}.part")
    file = None  # closed below: a Ctrl-C that comes as a `with` ends would leave it open
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
        file = os.fdopen(os.open(temporary, flags, 0o666), "wb")
        for part in parts:
            file.write(part)
        file.flush()
        os.fsync(file.fileno())
        file.close()
        if os.path.exists(path):
            os.chmod(temporary, stat.S_IMODE(os.stat(path).st_mode))
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            if file is not None:
                file.close()
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    _sync_folder(os.path.dirname(path))


def check_target(path: Any) -> str:
    """Where a file of this name is to be written; an OSError where none can be. Nothing is touched."""
    given = os.fsdecode(path)
    try:
        path = os.path.realpath(given)  # what a link points to is replaced, not the link
    except FileNotFoundError:
        raise FileNotFoundError(
            errno.ENOENT, "the working folder was deleted: name a path that is whole", given
        ) from None
    folder = os.path.dirname(path)
    if not os.path.isdir(folder):
        raise FileNotFoundError(errno.ENOENT, "the folder of the file does not exist", path)
    if os.path.isdir(path):
        raise IsADirectoryError(errno.EISDIR, "this is a folder: name a file", path)
    if os.path.exists(path) and not os.path.isfile(path):
        raise OSError(errno.EINVAL, "this is no regular file: name another", path)
    if not os.access(folder, os.W_OK):
        raise PermissionError(errno.EACCES, "the folder of the file may not be written to", path)
    return str(path)


def _sync_folder(folder: str) -> None:
    """So that the new name too survives a loss of power; not every system can."""
    if os.name == "posix":
        with contextlib.suppress(OSError):
            handle = os.open(folder, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)
