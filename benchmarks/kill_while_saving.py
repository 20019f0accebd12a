"""100 processes killed while they save a model over an older one: is the file the old one or the new one, whole?

Usage::

    python benchmarks/kill_while_saving.py
    python benchmarks/kill_while_saving.py --kills 10 --hidden-size 64
    python benchmarks/kill_while_saving.py --out     also writes benchmarks/results/kill_while_saving-….json

Each child process loads the new model, says so, and waits. Told to, it saves over the old file, and says when that is
done. Only those count that are killed in between (SIGKILL, as `kill -9`; on Windows TerminateProcess): two of three at
a time drawn from the whole duration of a save, one of three as soon as another file is seen in the old one's place,
for that moment is short and near the end.

The file is then compared with both, byte by byte, and loaded; so is that of the processes that were killed too late to
count. A temporary file beside it shows that the process was killed while writing. The exit code is 1 if any file was
neither the old one nor the new one, or the old one after the process had said that it was done.

This is about a process that dies. What a machine that loses its power leaves behind cannot be tried this way.
"""

from __future__ import annotations

import collections
import functools
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from common import finish, parser, table

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

WHOLE = ("old, whole", "new, whole")


def main() -> int:
    made = parser("kill_while_saving", __doc__)
    made.add_argument("--kills", type=int, default=100, help="to be counted (default: 100)")
    made.add_argument("--hidden-size", type=int, default=512, help="of the models: a large file takes longer to save")
    made.add_argument("--seed", type=int, default=0, help="of the times (default: 0)")
    options = made.parse_args()
    rng = random.Random(options.seed)
    outcomes: collections.Counter[str] = collections.Counter()
    too_late: collections.Counter[str] = collections.Counter()
    while_writing = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        old, new = (model_file(folder / f"{which}.xlstm", which, options.hidden_size) for which in ("old", "new"))
        contents = {"old": old.read_bytes(), "new": new.read_bytes()}
        scene = folder / "scene"
        durations = [save_and_kill(old, new, scene, None)[1] for _ in range(5)]
        if (scene / "model.xlstm").read_bytes() != contents["new"]:
            sys.exit("a model that is loaded and saved does not give the same bytes: there is nothing to compare with")
        usual = statistics.median(durations)
        while outcomes.total() < options.kills:
            if sum(too_late.values()) > 20 * options.kills:
                sys.exit("the processes end before they are killed: choose a larger --hidden-size")
            seconds = None if rng.random() < 1 / 3 else rng.uniform(0.0, usual)
            saved, _ = save_and_kill(old, new, scene, functools.partial(wait, seconds=seconds))
            outcome = what_is_left(scene / "model.xlstm", contents)
            if saved:
                too_late[outcome] += 1
                continue
            outcomes[outcome] += 1
            while_writing += len(list(scene.iterdir())) > 1
            if outcomes.total() % 10 == 0:
                print(f"{outcomes.total()} kills: {dict(outcomes)}", file=sys.stderr, flush=True)

    wrong = sum(count for outcome, count in outcomes.items() if outcome not in WHOLE)
    wrong += sum(count for outcome, count in too_late.items() if outcome != "new, whole")
    rows = [[kind, outcomes[kind], too_late[kind]] for kind in WHOLE]
    rows.append(
        ["anything else", *(sum(count[kind] for kind in set(count) - set(WHOLE)) for count in (outcomes, too_late))]
    )
    text = (
        f"{options.kills} kills during a save of {len(contents['new']) / 1e6:.1f} MB that takes {1e3 * usual:.0f} ms, "
        f"{while_writing} of them while the\ntemporary file was written\n\n"
        + table(["the file afterwards", "killed while saving", "killed after that"], rows)
    )
    results = {
        "file_bytes": len(contents["new"]),
        "seconds_to_save": usual,
        "outcomes": dict(outcomes),
        "killed_while_writing": while_writing,
        "outcomes_of_late_kills": dict(too_late),
        "wrong": wrong,
    }
    finish(options, "kill_while_saving", results, text)
    return int(wrong > 0)


def model_file(path: Path, label: str, hidden_size: int) -> Path:
    """A model whose answers tell which one it is."""
    classifier = xlstm.SequenceClassifier(hidden_size=hidden_size, max_iter=1, random_state=0, device="cpu")
    classifier.fit(["ab", "ba"], [label, f"not {label}"]).save(path)
    return path


def wait(file: Path, seconds: float | None) -> None:
    """For so long, or, where that is None, until another file has taken this one's place."""
    before = file.stat().st_ino
    end = time.perf_counter() + (10.0 if seconds is None else seconds)
    while time.perf_counter() < end:  # sleeping is too coarse
        if seconds is None and file.stat().st_ino != before:
            return


def save_and_kill(old: Path, new: Path, scene: Path, until: Callable[[Path], None] | None) -> tuple[bool, float]:
    """One process in a fresh folder, killed when `until` returns, or not at all.

    Returns whether it said that the file was saved, and how many seconds that took.
    """
    shutil.rmtree(scene, ignore_errors=True)
    scene.mkdir()
    file = scene / "model.xlstm"
    shutil.copyfile(old, file)
    command = [sys.executable, "-c", CHILD, str(new), str(file)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=new.parent) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        if child.stdout.readline() != "ready\n":
            sys.exit("the child process did not come so far as to save")
        child.stdin.write("go\n")
        child.stdin.flush()
        if until is not None:
            until(file)
            child.kill()
        told = child.stdout.read().split()
    return bool(told), float(told[1]) if len(told) == 2 else float("nan")


def what_is_left(path: Path, contents: dict[str, bytes]) -> str:
    """ "old, whole" or "new, whole", or what else."""
    try:
        found = path.read_bytes()
        classes: Any = xlstm.load(path, device="cpu").classes_
    except (OSError, ValueError) as error:
        return f"broken: {type(error).__name__}"
    for which, content in contents.items():
        if found == content and which in classes:
            return f"{which}, whole"
    return "of other bytes"


if __name__ == "__main__":
    sys.exit(main())
