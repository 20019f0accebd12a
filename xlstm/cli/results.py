"""Where the results of `train` go: the files of the model and of the held-out rows, and what may be replaced there."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from ..files import check_target, write_whole
from ..lines import STANDARD_INPUT
from .common import Failure, is_same_file

NAMES_MODEL = "names.xlstm"
STANDARD_INPUT_MODEL = "stdin.xlstm"
HELD_OUT = (".held-out.csv", ".held-out.tsv", ".held-out.jsonl", ".held-out.ndjson", ".held-out-ids.csv")
"""How the files of held-out rows end that stand beside a model."""


def model_of(options: Any) -> Path:
    """The file of the model: as told, or in this folder, by the name of the data."""
    if options.data is not None and (os.path.isdir(options.data) or not Path(options.data).name):
        what = "is a folder" if os.path.isdir(options.data) else "names nothing"
        raise Failure(f"{options.data!r} {what}: name the file of a table, or - for standard input")
    if options.out is not None:
        return Path(options.out)
    if options.data is None:
        return Path(NAMES_MODEL)
    if options.data == STANDARD_INPUT:
        return Path(STANDARD_INPUT_MODEL)
    data = Path(options.data)
    return Path((data.with_suffix("") if data.suffix == ".gz" else data).with_suffix(".xlstm").name)


def held_out_of(model: Path, suffix: str, options: Any) -> Path:
    """The file of the held-out rows: as told, or beside the model."""
    path = Path(options.held_out) if options.held_out is not None else _beside(model, suffix)
    check_target(path)
    keep_the_data(path, options)
    if path.resolve() == model.resolve():
        raise Failure(
            f"{path} cannot hold both the model and the held-out rows: name two files by --out and --held-out"
        )
    if options.resume is not None and is_same_file(path, options.resume):
        raise Failure(
            f"{path} cannot hold both the training and the held-out rows: name two files by --resume and --held-out"
        )
    return path


def _beside(model: Path, suffix: str) -> Path:
    """The name of a file of held-out rows that stands beside its model."""
    return model.with_name((model.stem if model.suffix == ".xlstm" else model.name) + suffix)


def stale(model: Path, older: str | None, held_out: Path | None, digest: str | None) -> Path | None:
    """The file of held-out rows beside the model that is still as it was written with the older model.

    Rows that are held out from this model too are as good for it, wherever they stand.
    """
    if older is None or (held_out is not None and older == digest):
        return None
    for path in (_beside(model, suffix) for suffix in HELD_OUT):
        if path.is_file() and digest_of(path.read_bytes()) == older:
            return path
    return None


@contextlib.contextmanager
def replaced_with(model: Path, held_out: Path | None, content: bytes) -> Iterator[None]:
    """Has the file of held-out rows replaced together with the model, which is written inside.

    At no moment do rows stand beside a model that they are not of, for it may have trained on them: older ones are set
    aside under a hidden name, and so are the new ones until the model is there. Where it cannot be written the older
    ones come back; a kill in just that moment leaves them hidden beside it.
    """
    path = None if held_out is None else Path(check_target(held_out))
    if path is None:
        yield
        return
    new, old = (path.with_name(f".{path.name}.{which}") for which in ("new", "old"))
    if path.exists() and path.read_bytes() == content:
        yield
        for left in (new, old):  # by a process that was killed: of a model that is no more
            left.unlink(missing_ok=True)
        return
    was_there, before = path.exists(), _identity(model)
    try:
        if was_there:
            os.replace(path, old)
            new.touch(0o600)
            shutil.copymode(old, new)
        write_whole(new, [content])  # which syncs the folder: the older ones are gone after a loss of power, too
        yield
    except BaseException:
        if _identity(model) == before:
            if was_there and not path.exists():
                os.replace(old, path)
            new.unlink(missing_ok=True)
            raise
        _completed(path, new, old)
        raise
    _completed(path, new, old)


def _completed(path: Path, new: Path, old: Path) -> None:
    os.replace(new, path)
    old.unlink(missing_ok=True)


def _identity(path: Path) -> tuple[int, int] | None:
    """Of a file, which is another once it was replaced."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def digest_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def keep_the_data(path: Path, options: Any) -> None:
    """Raise where a result would be written to a file of the data."""
    for data in options.files:
        if is_same_file(path, data):
            raise Failure(
                f"the result {path} would overwrite the data {data}: name another file by --out, --held-out or --resume"
            )


def is_ours(held_out: Path, ours: Collection[str | None]) -> bool:
    return not held_out.exists() or digest_of(held_out.read_bytes()) in ours


def keep_what_is_not_ours(held_out: Path, ours: Collection[str | None], model: Path) -> None:
    """Raise where the file to be replaced has none of these digests.

    They are that of what is to be written, which loses nothing, and that of what was written with the older model.
    """
    if not is_ours(held_out, ours):
        raise Failure(
            f"{held_out} is there already, and is not as xlstm wrote it with {model}: name another file for the "
            "held-out rows by --held-out FILE, or have this one replaced by --force"
        )
