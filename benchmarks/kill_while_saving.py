"""100 processes killed while they save a model over an older one: is the file the old one or the new one, whole?

Usage::

    python benchmarks/kill_while_saving.py
    python benchmarks/kill_while_saving.py --kills 10 --hidden-size 64
    python benchmarks/kill_while_saving.py --out     also writes benchmarks/results/kill_while_saving-….json

Each child process loads the new model, says so, and waits. Told to, it saves over the old file; it is killed (SIGKILL,
as `kill -9`; on Windows TerminateProcess) after a random time, and says so if it came to the end before. Only kills that
fell between the two count. Half of the times are drawn from the whole of the duration of a save. The other half follow
the moment when the new file takes the old one's place: later if the last one left the old file, else earlier.

The file is then compared with both, byte by byte, and loaded. What lies beside it, the temporary file of a killed
process, is counted too: it shows that the process was killed in the middle. The exit code is 1 if a file was neither.

This is about a process that dies. What a machine that loses its power leaves behind cannot be tried this way.
"""

from __future__ import annotations

import collections
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
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
print("saved", time.perf_counter() - begin, flush=True)
"""


def main() -> int:
    made = parser("kill_while_saving", __doc__)
    made.add_argument("--kills", type=int, default=100, help="to be counted (default: 100)")
    made.add_argument("--hidden-size", type=int, default=512, help="of the models: a large file takes longer to save")
    made.add_argument("--seed", type=int, default=0, help="of the times (default: 0)")
    options = made.parse_args()
    rng = random.Random(options.seed)
    outcomes: collections.Counter[str] = collections.Counter()
    in_the_middle = too_late = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        old, new = (model_file(folder / f"{which}.xlstm", which, options.hidden_size) for which in ("old", "new"))
        contents = {"old": old.read_bytes(), "new": new.read_bytes()}
        scene = folder / "scene"
        durations = [save_and_kill(old, new, scene, None)[1] for _ in range(5)]
        if (scene / "model.xlstm").read_bytes() != contents["new"]:
            sys.exit("a model that is loaded and saved does not give the same bytes: there is nothing to compare with")
        usual = statistics.median(durations)
        moment = usual  # about when the new file takes the old one's place
        while sum(outcomes.values()) < options.kills:
            if too_late > 20 * options.kills:
                sys.exit("the processes end before they are killed: choose a larger --hidden-size")
            aimed = rng.random() < 0.5
            saved, _ = save_and_kill(old, new, scene, moment if aimed else rng.uniform(0.0, usual))
            outcome = what_is_left(scene / "model.xlstm", contents)
            if aimed:
                moment *= 1.03 if outcome == "old, whole" else 0.97
            if saved:
                too_late += 1
                continue
            in_the_middle += len(list(scene.iterdir())) > 1
            outcomes[outcome] += 1
            if sum(outcomes.values()) % 10 == 0:
                print(f"{sum(outcomes.values())} kills: {dict(outcomes)}", file=sys.stderr, flush=True)

    wrong = sum(count for outcome, count in outcomes.items() if outcome not in ("old, whole", "new, whole"))
    kinds = [*("old, whole", "new, whole"), *sorted(set(outcomes) - {"old, whole", "new, whole"})]
    rows = [[kind, outcomes[kind]] for kind in kinds] + [["anything else, together", wrong]]
    text = (
        f"{options.kills} kills during a save of {len(contents['new']) / 1e6:.1f} MB that takes {1e3 * usual:.0f} ms\n\n"
        f"{table(['the file afterwards', 'times'], rows)}\n\n"
        f"killed while the temporary file was being written: {in_the_middle}; came too late, not counted: {too_late}"
    )
    results = {
        "file_bytes": len(contents["new"]),
        "seconds_to_save": usual,
        "outcomes": dict(outcomes),
        "wrong": wrong,
        "temporary_file_left": in_the_middle,
        "too_late": too_late,
    }
    finish(options, "kill_while_saving", results, text)
    return int(wrong > 0)


def model_file(path: Path, label: str, hidden_size: int) -> Path:
    """A model whose answers tell which one it is."""
    classifier = xlstm.SequenceClassifier(hidden_size=hidden_size, max_iter=1, random_state=0, device="cpu")
    classifier.fit(["ab", "ba"], [label, f"not {label}"]).save(path)
    return path


def save_and_kill(old: Path, new: Path, scene: Path, delay: float | None) -> tuple[bool, float]:
    """One process in a fresh folder; with no delay it is not killed. Whether it came to its end, and its seconds."""
    shutil.rmtree(scene, ignore_errors=True)
    scene.mkdir()
    shutil.copyfile(old, scene / "model.xlstm")
    command = [sys.executable, "-c", CHILD, str(new), str(scene / "model.xlstm")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=new.parent) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        if child.stdout.readline() != "ready\n":
            sys.exit("the child process did not come so far as to save")
        child.stdin.write("go\n")
        child.stdin.flush()
        if delay is not None:
            end = time.perf_counter() + delay
            while time.perf_counter() < end:  # sleeping is too coarse here
                pass
            child.kill()
        told = child.stdout.read().split()
    return bool(told), float(told[1]) if told else float("nan")


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
