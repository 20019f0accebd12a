"""Kill processes while they save a model over an older one: the file must be the old or the new one, whole, every time.

A child loads the new model, says so, and waits. Told to, it saves over the old file, and says when that is done. It is
killed in between (SIGKILL, as `kill -9`; on Windows TerminateProcess): two of three times at a moment drawn from the
whole duration of a save, one of three times as soon as another file is seen in the old one's place, for that moment is
short and near the end. `benchmarks/kill_while_saving.py` does it a hundred times.
"""

import random
import shutil
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import xlstm

CHILD = """
import sys, time, xlstm
model = xlstm.load(sys.argv[1], device="cpu")
print("ready", flush=True)
sys.stdin.readline()
begin = time.perf_counter()
model.save(sys.argv[2])
print(f"saved {time.perf_counter() - begin}", flush=True)
"""


class Found(Counter[str]):
    """How often the file was the "old" or the "new" model after a kill that counts; how many of these struck while the
    temporary file was written ("writing"); how many processes had said "saved" before they were killed ("late")."""

    file_bytes = 0
    seconds_to_save = 0.0


def run(
    count: int, folder: Path, seed: int = 0, hidden_size: int = 64, told: Callable[[Found], None] = lambda _: None
) -> Found:
    """Kill processes in `folder` until `count` of them were killed while they saved.

    Raises
    ------
    AssertionError
        If the file was neither of the two models, or the old one after the process had said that it was done;
        ValueError or OSError where it cannot be loaded.
    """
    rng, found = random.Random(seed), Found()
    old, new = (_model_file(folder / which, which, hidden_size) for which in ("old", "new"))
    contents = {"old": old.read_bytes(), "new": new.read_bytes()}
    scene = folder / "scene"
    durations = [_save_and_kill(old, new, scene, None)[1] for _ in range(3)]
    assert (scene / "model").read_bytes() == contents["new"], "a model loaded and saved is no longer the same bytes"
    found.file_bytes, found.seconds_to_save = len(contents["new"]), statistics.median(durations)
    while found["old"] + found["new"] < count:
        assert found["late"] <= 20 * count, "the processes end before they are killed: take a larger hidden_size"
        seconds = None if rng.random() < 1 / 3 else rng.uniform(0.0, found.seconds_to_save)
        saved, _ = _save_and_kill(old, new, scene, lambda file, seconds=seconds: _wait(file, seconds))  # type: ignore[misc]
        content = (scene / "model").read_bytes()
        assert content in contents.values(), "the file is neither of the two models"
        left = "old" if content == contents["old"] else "new"
        assert left in xlstm.load(scene / "model", "cpu").classes_
        if saved:
            assert left == "new", "the process had said that the new model was saved"
            found["late"] += 1
            continue
        found[left] += 1
        found["writing"] += len(list(scene.iterdir())) > 1
        told(found)
    return found


def _model_file(path: Path, label: str, hidden_size: int) -> Path:
    """A model whose classes tell which one it is."""
    classifier = xlstm.SequenceClassifier(hidden_size=hidden_size, max_iter=1, random_state=0, device="cpu")
    classifier.fit(["ab", "ba"], [label, f"not {label}"]).save(path)
    return path


def _wait(file: Path, seconds: float | None) -> None:
    """For so long, or, where that is None, until another file has taken this one's place."""
    before = file.stat().st_ino
    end = time.perf_counter() + (10.0 if seconds is None else seconds)
    while time.perf_counter() < end:  # sleeping is too coarse
        if seconds is None and file.stat().st_ino != before:
            return


def _save_and_kill(old: Path, new: Path, scene: Path, until: Callable[[Path], None] | None) -> tuple[bool, float]:
    """One process in a fresh folder, killed when `until` returns, or not at all.

    Returns whether it said that the file was saved, and how many seconds that took.
    """
    shutil.rmtree(scene, ignore_errors=True)
    scene.mkdir()
    file = scene / "model"
    shutil.copyfile(old, file)
    command = [sys.executable, "-c", CHILD, str(new), str(file)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=new.parent) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n", "the child process did not come so far as to save"
        child.stdin.write("go\n")
        child.stdin.flush()
        if until is not None:
            until(file)
            child.kill()
        words = child.stdout.read().split()
    return bool(words), float(words[1]) if len(words) == 2 else float("nan")
