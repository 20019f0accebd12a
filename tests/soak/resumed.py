"""`xlstm train --resume` killed again and again (SIGKILL, as `kill -9`): it goes on to the same bits.

After each kill the files have to be whole: what the training is kept in loads, the model is the older one or the new
one, and held-out rows stand beside the model that they were held out from. Kills come at moments drawn from the whole
duration, half of them as soon as some file in the folder is another after that.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .row import Row

LIMIT = 300.0
"""Seconds that a training may take."""
ROWS = 300
KEPT, MODEL, HELD_OUT = "kept.xlstm", "data.xlstm", "data.held-out.csv"
FLAGS = ("--hidden-size", "24", "--epochs", "15", "--batch-size", "32", "--dropout", "0.2", "--device", "cpu")


def train(folder: Path, seed: int, planted: bool) -> int:
    """The process of a training, forked: its number. Planted: it writes files in place, not at once."""
    child = os.fork()
    if child:
        return child
    try:
        os.chdir(folder)
        log = os.open("log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(log, 1)
        os.dup2(log, 2)
        from xlstm import checkpoint, cli

        if planted:
            checkpoint.write_whole = in_place  # type: ignore[assignment]
        os._exit(cli.main(["train", "data.csv", *FLAGS, "--seed", str(seed), "--resume", KEPT]))
    except BaseException as error:
        os.write(2, repr(error).encode())
        os._exit(1)


def in_place(path: Any, parts: Any) -> None:
    with open(path, "wb") as file:
        for part in parts:
            file.write(part)
            file.flush()
            time.sleep(0.01)


def ended(child: int, moment: float, folder: Path | None = None) -> int | None:
    """The exit code of a process that ends by itself; None where the moment has come, and then a file is another."""
    before = None
    while time.perf_counter() < moment + (0 if folder is None else LIMIT):
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        if folder is not None and time.perf_counter() >= moment:
            now = looks(folder)
            if before is not None and now != before:
                return None
            before = now
        time.sleep(0.0002)
    return None


def looks(folder: Path) -> set[tuple[Any, ...]]:
    found = set()
    for entry in os.scandir(folder):
        with contextlib.suppress(FileNotFoundError):
            if entry.name != "log":
                found.add((entry.name, entry.inode(), entry.stat().st_size))
    return found


def wrong(folder: Path, older: bytes, whole: bytes) -> Iterator[str]:
    """What is not as it should be in the folder of a training that was killed."""
    import xlstm

    if (kept := folder / KEPT).exists():
        try:
            xlstm.load(kept, "cpu")
        except (ValueError, OSError) as error:
            yield f"the kept training cannot be loaded: {error}"
    model = (folder / MODEL).read_bytes()
    if model not in (older, whole):
        yield "the model is neither the older nor the new one"
        return
    rows = folder / HELD_OUT
    if rows.exists():
        own = xlstm.load(folder / MODEL, "cpu").fitted_state().table.held_out
        if hashlib.sha256(rows.read_bytes()).hexdigest() != own:
            yield "the held-out rows are not those of the model"


def data(folder: Path) -> None:
    rng = random.Random(0)
    texts = ["".join(rng.choices("abcd", k=rng.randint(2, 12))) for _ in range(ROWS)]
    lines = [f"{text},{'even' if text.count('a') % 2 == 0 else 'odd'}" for text in texts]
    (folder / "data.csv").write_text("\n".join(["text,label", *lines, ""]), encoding="utf-8")


def undisturbed(folder: Path, seed: int) -> float:
    """Trains without a kill. Returns the seconds."""
    begin = time.perf_counter()
    if (code := ended(train(folder, seed, planted=False), begin + LIMIT)) != 0:
        raise SystemExit(f"the training does not end: {code}: {(folder / 'log').read_text(encoding='utf-8')[-300:]}")
    return time.perf_counter() - begin


def soak(short: bool = False, planted: bool = False, tries: int | None = None) -> Row:
    """Planted: files are written in place, so that a kill leaves half of one."""
    count, rng = tries or (4 if short else 200), random.Random(0)
    done, trainings, went_on = 0, 0, 0
    failures: list[str] = []
    with tempfile.TemporaryDirectory() as there:
        start, scene = Path(there, "start"), Path(there, "scene")
        start.mkdir()
        data(start)
        undisturbed(start, seed=1)
        older = (start / MODEL).read_bytes()
        (start / KEPT).unlink()
        shutil.copytree(start, scene)
        seconds = undisturbed(scene, seed=2)
        whole, rows = (scene / MODEL).read_bytes(), (scene / HELD_OUT).read_bytes()
        while not failures and (done < count or (scene / MODEL).read_bytes() != whole):  # the last goes on to its end
            if (scene / MODEL).read_bytes() == whole:  # a training has ended: another begins
                shutil.rmtree(scene)
                shutil.copytree(start, scene)
                trainings += 1
            anew = not (scene / KEPT).exists()
            went_on += not anew
            begin = time.perf_counter()
            moment = begin + (rng.uniform(0, seconds) if done < count else LIMIT)
            child = train(scene, 2, planted)
            code = ended(child, moment, scene if planted or (done < count and rng.random() < 0.5) else None)
            if code is None:  # killed, or, the last time, a hang
                failures += ["a training does not end"] * (done >= count)
                os.kill(child, 9)
                os.waitpid(child, 0)
                done += 1
                failures += wrong(scene, older, whole)
            elif code != 0:
                failures.append(f"a training ends with {code}: {(scene / 'log').read_text(encoding='utf-8')[-300:]}")
            elif (scene / MODEL).read_bytes() != whole or (scene / HELD_OUT).read_bytes() != rows:
                failures.append("a training that went on gave another model than the one that nobody killed")
            elif anew:  # not killed in time: on a busy machine the first may have taken long
                seconds = min(seconds, time.perf_counter() - begin)
    return Row("resumed", done, failures, f"{trainings} trainings, gone on with {went_on} times")
