"""Processes that are killed while they save a model over an older one: the file is the old or the new one, whole.

A child loads the new model, says so, and waits. Told to, it saves over the old file, and says when that is done. It is
killed in between (SIGKILL, as `kill -9`; on Windows TerminateProcess): two of three times at a moment drawn from the
whole duration of a save, one of three times as soon as another file is seen in the old one's place, for that moment is
short and near the end. Only kills before the child says that it is done count. The next child in the same folder
removes what the one before left. What a machine that loses its power leaves cannot be tried this way.
"""

from __future__ import annotations

import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import xlstm

from .row import Row

CHILD = """
import sys, time, xlstm
model = xlstm.load(sys.argv[1], device="cpu")
print("ready", flush=True)
sys.stdin.readline()
begin = time.perf_counter()
model.save(sys.argv[2])
print(f"saved {time.perf_counter() - begin}", flush=True)
"""
PLANTED = """
import xlstm.checkpoint, time
def in_place(path, parts):
    with open(path, "wb", buffering=0) as file:
        for part in parts:
            file.write(part)
            time.sleep(0.02)
xlstm.checkpoint.write_whole = in_place
"""


class Scene:
    """A folder in which one process after the other saves a new model over an old one."""

    def __init__(self, folder: Path, hidden_size: int, measured: int, planted: bool) -> None:
        self.old, self.new = (_model_file(folder / which, which, hidden_size) for which in ("old", "new"))
        self.contents = {"old": self.old.read_bytes(), "new": self.new.read_bytes()}
        self.folder, self.program = folder / "scene", (PLANTED if planted else "") + CHILD
        self.file, self.found = self.folder / "model", Counter[str]()
        self.folder.mkdir()
        self.seconds = statistics.median(self.saved_by_a_process(None)[1] for _ in range(measured))

    def saved_by_a_process(self, until: Callable[[], None] | None) -> tuple[bool, float]:
        """A process saves, and is killed when `until` returns, or not at all.

        Returns whether it said that the file was saved, and how many seconds that took.
        """
        shutil.copyfile(self.old, self.file)
        command = [sys.executable, "-c", self.program, str(self.new), str(self.file)]
        pipe = subprocess.PIPE
        with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, cwd=self.folder.parent) as child:
            assert child.stdin is not None
            assert child.stdout is not None
            assert child.stdout.readline() == "ready\n", "the child process did not come so far as to save"
            child.stdin.write("go\n")
            child.stdin.flush()
            if until is not None:
                until()
                child.kill()
            words = child.stdout.read().split()
        return bool(words), float(words[1]) if len(words) == 2 else float("nan")

    def killed(self, rng: random.Random) -> str | None:
        """One more kill; what is wrong, if anything is."""
        seconds = None if rng.random() < 1 / 3 else rng.uniform(0.0, self.seconds)
        saved, _ = self.saved_by_a_process(lambda: self._wait(seconds))
        content = self.file.read_bytes()
        left = [which for which, expected in self.contents.items() if content == expected]
        if not left:
            return f"the file is neither of the two models: {len(content)} bytes"
        if left[0] not in xlstm.load(self.file, "cpu").classes_:
            return "what was loaded is another model"
        beside = len(list(self.folder.iterdir())) - 1
        if beside > 1:
            return f"{beside} temporary files lie beside it: the process did not remove those of the ones before"
        if saved:
            self.found["late"] += 1
            return None if left == ["new"] else "the process had said that the new model was saved"
        self.found[left[0]] += 1
        self.found["writing"] += beside
        return None

    def _wait(self, seconds: float | None) -> None:
        """For so long, or, where that is None, until another file has taken this one's place."""
        before = self.file.stat().st_ino
        end = time.perf_counter() + (10.0 if seconds is None else seconds)
        while time.perf_counter() < end:  # sleeping is too coarse
            if seconds is None and self.file.stat().st_ino != before:
                return


def _model_file(path: Path, label: str, hidden_size: int) -> Path:
    """A model whose classes tell which one it is."""
    classifier = xlstm.SequenceClassifier(hidden_size=hidden_size, max_iter=1, random_state=0, device="cpu")
    classifier.fit(["ab", "ba"], [label, f"not {label}"]).save(path)
    return path


def soak(short: bool = False, planted: bool = False, tries: int | None = None) -> Row:
    """Planted: the file is written in its place, to a slow disk."""
    wanted, rng, failures = tries or (3 if short else 1000), random.Random(0), []
    with tempfile.TemporaryDirectory() as folder:
        scene = Scene(Path(folder), 64 if short else 512, 1 if short else 3, planted)
        while scene.found["old"] + scene.found["new"] + len(failures) < wanted:
            if failure := scene.killed(rng):
                failures.append(failure)
            if scene.found["late"] > 20 * wanted:
                failures.append("the processes end before they are killed: take a larger model")
                break
            if planted and failures:
                break
    found = scene.found
    note = (
        f"{found['old']} old, {found['new']} new, whole; {found['writing']} killed while the temporary file was written"
    )
    return Row("killed", wanted, failures, note)
