"""Write a file whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
import time
import warnings
from collections.abc import Iterable, Iterator
from typing import Any

from .labels import callers_level

try:
    import fcntl
except ImportError:  # Windows, where a file that is open cannot be removed
    fcntl = None  # type: ignore[assignment]

_PART = re.compile(r"\.xlstm-[0-9a-f]{12}\.part")
_DAY = 86400.0
PATIENCE = 30.0
"""Seconds that a process waits for another that replaces files in the same folder, which takes less than one."""
_NOT_EVERYWHERE = (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS)
"""What systems say that cannot sync a folder."""


def write_whole(path: Any, parts: Iterable[bytes]) -> None:
    """Write `parts` to a temporary file beside `path`, sync it, and rename it over `path`.

    A reader, or whoever looks after a crash, finds the old file or the new one. The new one has the permissions and, as
    far as the process may give them, the owner and group of the old (a warning says where the owner is another), or
    those of any new file; what is written is at no time readable by more. Temporary files of processes that have died
    are removed.

    Raises
    ------
    OSError
        If it cannot be written; an older file is then untouched, and nothing is left beside it. An error of the folder
        comes after the new file has taken its place: it may not survive a loss of power.
    """
    path = check_target(path)
    folder = os.path.dirname(path)
    _remove_abandoned(folder)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    temporary, file = "", None  # closed below: a Ctrl-C that comes as a `with` ends would leave it open
    try:
        old = _status(path)
        while file is None or not _locked(file.fileno()):
            if file is not None:
                file.close()
            temporary = os.path.join(folder, f".xlstm-{os.urandom(6).hex()}.part")
            file = os.fdopen(os.open(temporary, flags, 0o666 if old is None else 0o600), "wb")
        kept = old is None or _take_over(temporary, file.fileno(), old)
        for part in parts:
            file.write(part)
        file.flush()
        os.fsync(file.fileno())
        if fcntl is None:
            file.close()  # what is open cannot be renamed there; elsewhere its lock goes with it
        os.replace(temporary, path)
        temporary = ""
        file.close()
    except OSError as error:
        if error.errno is None or error.filename == path:
            raise
        raise OSError(error.errno, error.strerror, path) from error  # a full disk names none, others the temporary one
    finally:
        with contextlib.suppress(OSError):
            if file is not None:
                file.close()
        with contextlib.suppress(OSError):
            if temporary:
                os.unlink(temporary)
    _sync_folder(folder, path)
    if not kept:
        warnings.warn(
            f"{path} belonged to another user, and belongs to the user of this process now.", stacklevel=callers_level()
        )


@contextlib.contextmanager
def alone_beside(path: Any) -> Iterator[None]:
    """Others that ask for the same folder wait meanwhile. Not where folders have no locks: on Windows, on some drives.

    For who replaces several files that belong together; what it locks is the folder, so nothing is left there. Whoever
    waits for more than `PATIENCE` seconds goes on without: others may lock a folder for as long as they like.
    """
    handle, limit = -1, time.monotonic() + PATIENCE
    try:
        if fcntl is not None:
            with contextlib.suppress(OSError):
                handle = os.open(os.path.dirname(os.path.realpath(path)), os.O_RDONLY)
                while time.monotonic() < limit:
                    try:
                        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                        break
                    except BlockingIOError:
                        time.sleep(0.01)
        yield
    finally:
        if handle >= 0:
            os.close(handle)


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
    if os.path.isdir(path) or os.path.basename(given) in ("", os.curdir, os.pardir):
        raise IsADirectoryError(errno.EISDIR, "this is a folder: name a file", given if given else path)
    if os.path.islink(path):
        raise OSError(errno.ELOOP, "this link leads to itself", given)
    for name in (given, path):  # a pipe behind /dev/stdout has a path that leads nowhere
        if os.path.exists(name) and not os.path.isfile(name):
            raise OSError(errno.EINVAL, "this is no regular file: name another", name)
    if not os.path.isdir(folder):
        raise FileNotFoundError(errno.ENOENT, "the folder of the file does not exist", path)
    if not os.access(folder, os.W_OK):
        raise PermissionError(errno.EACCES, "the folder of the file may not be written to", path)
    return str(path)


def _status(path: str) -> os.stat_result | None:
    try:
        return os.stat(path)
    except FileNotFoundError:
        return None


def _locked(handle: int) -> bool:
    """Lock a new temporary file for as long as the process lives, so that others can tell; False where it is gone:
    another process took it for abandoned before."""
    if fcntl is None:
        return True
    with contextlib.suppress(OSError):  # of a file system without locks
        fcntl.flock(handle, fcntl.LOCK_EX)  # who looks whether it is abandoned has it for a moment
    return os.fstat(handle).st_nlink > 0


def _take_over(temporary: str, handle: int, old: os.stat_result) -> bool:
    """Give a new file the owner, group and permissions of the old, before anything is in it; whether it has its owner.

    Where it cannot have the group, that group's rights are those of all others: no other group gets them.
    """
    mode, same = stat.S_IMODE(old.st_mode), True
    if hasattr(os, "fchown"):
        now = os.fstat(handle)
        if now.st_gid != old.st_gid:
            try:
                os.fchown(handle, -1, old.st_gid)
            except OSError:
                mode = mode & ~(stat.S_IRWXG | stat.S_ISGID) | (mode & stat.S_IRWXO) << 3
        if now.st_uid != old.st_uid:
            try:
                os.fchown(handle, old.st_uid, -1)
            except OSError:
                mode, same = mode & ~stat.S_ISUID, False
    os.chmod(handle if os.chmod in os.supports_fd else temporary, mode)
    return same


def _remove_abandoned(folder: str) -> None:
    """Remove temporary files of processes that died while they wrote. What cannot be removed stays."""
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if _PART.fullmatch(entry.name):
                with contextlib.suppress(OSError):
                    _remove_if_abandoned(entry.path)


def _remove_if_abandoned(temporary: str) -> None:
    if fcntl is None:
        if time.time() - os.stat(temporary).st_mtime > _DAY:
            os.unlink(temporary)
        return
    handle = os.open(temporary, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)  # an OSError where its process lives
        if stat.S_ISREG(os.fstat(handle).st_mode):
            os.unlink(temporary)
    finally:
        os.close(handle)


def _sync_folder(folder: str, path: str) -> None:
    """So that the new name too survives a loss of power; not every system can."""
    if os.name != "posix":
        return
    try:
        handle = os.open(folder, os.O_RDONLY)
    except PermissionError:  # it may be written to, and not be read
        return
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in _NOT_EVERYWHERE:
            raise OSError(error.errno, error.strerror, path) from error
    finally:
        os.close(handle)
