"""What it costs to serve a classifier: by this library, with compiled kernels and without, by onnxruntime, in a page.

Usage::

    python benchmarks/serving.py
    python benchmarks/serving.py --node FOLDER       also onnxruntime-web, from a folder in which npm installed it
    python benchmarks/serving.py --out               also writes benchmarks/results/serving-….json

The model reads first names, letter by letter. Latency is that of a call with one name, and of a call with 32 of ragged
lengths, texts in and labels with probabilities out, on one thread; the sides take turns, but for onnxruntime-web, which
runs by itself in Node.js, as WebAssembly. Of a stream it is that of one more letter. Memory, on Linux, is the most that
a fresh process had after some calls, imports included, beside that of one which imports NumPy alone.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from lib.checkout import ROOT
from lib.command import finish, parser, table
from lib.fresh import python
from lib.harness import spread

import xlstm
from xlstm import data

SIDES = ("prepared", "estimator", "array", "onnxruntime")
TOLD = {"prepared": "`prepare()`", "estimator": "`predict_proba`", "array": "`predict_proba` without kernels"}
SERVED = """
import json, sys
import numpy as np
side, folder, names = sys.argv[1:]
names = json.loads(names)
{body}
for _ in range(50):
    answer(names)
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""
BY_ONNX = """
import onnxruntime
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
session = onnxruntime.InferenceSession(folder + "/names.onnx", options, providers=["CPUExecutionProvider"])
def answer(texts):
    lengths = np.array([len(text) for text in texts], dtype=np.int64)
    tokens = np.full((len(texts), lengths.max()), "", dtype=object)
    for row, text in zip(tokens, texts):
        row[: len(text)] = list(text)
    return session.run(["label", "probabilities"], {"tokens": tokens, "lengths": lengths})
"""
BY_US = """
import xlstm
xlstm.set_threads(1)
clf = xlstm.load(folder + ("/array.xlstm" if side == "array" else "/names.xlstm"), device="cpu")
call = clf.prepare() if side == "prepared" else clf.predict_proba
def answer(texts):
    return call(texts)
"""
BODIES = {"onnxruntime": BY_ONNX, "numpy": "answer = len", **dict.fromkeys(("prepared", "estimator", "array"), BY_US)}
IN_NODE = """
import { readFileSync, writeFileSync } from "fs";
const texts = JSON.parse(readFileSync("texts.json"));
const seconds = { 1: [], 32: [] };
for (let k = 0; k < CALLS + 20; ++k)
  for (const some of [[texts[k % 32]], texts]) {
    const begin = performance.now();
    await classify(some);
    if (k >= 20) seconds[some.length].push((performance.now() - begin) / 1000);
  }
writeFileSync("seconds.json", JSON.stringify({ seconds, answers: await classify(texts) }));
"""


def main() -> int:
    xlstm.set_threads(1)
    made = parser("onnx_serving", __doc__)
    made.add_argument("--rounds", type=int, default=300, help="calls of each side (default: 300)")
    made.add_argument("--hidden-size", type=int, default=64, help="hidden units (default: 64)")
    made.add_argument(
        "--node", dest="folder", metavar="FOLDER", type=Path, help="a folder with onnxruntime-web in its node_modules"
    )
    options = made.parse_args()
    X, y = data.first_names()
    clf = xlstm.SequenceClassifier(hidden_size=options.hidden_size, max_iter=1, random_state=0, device="cpu")
    clf.fit(X, y)
    plain = xlstm.SequenceClassifier(**{**clf.get_params(), "kernels": "reference"}).fit(X, y)
    texts = [str(name) for name in X[:32]]
    with tempfile.TemporaryDirectory() as folder:
        clf.save(os.path.join(folder, "names.xlstm"))
        plain.save(os.path.join(folder, "array.xlstm"))
        xlstm.to_onnx(clf, os.path.join(folder, "names.onnx"))
        size = os.path.getsize(os.path.join(folder, "names.onnx"))
        seconds = latency(folder, texts, options.rounds)
        memory = {side: peak(side, folder, texts) for side in ("numpy", *SIDES)}
        if options.folder:
            seconds["onnxruntime-web"] = in_node(options.folder, Path(folder), texts, options.rounds, clf)
    stream = letters(clf, texts, options.rounds)
    rows = []
    for side, each in seconds.items():
        one, many = (f"{1e6 * each[n]['median']:.0f}" for n in ("1", "32"))
        rows.append([TOLD.get(side, side), one, many, f"{memory[side] / 2**20:.0f}" if side in memory else ""])
    rows.append(["NumPy alone", "", "", f"{memory['numpy'] / 2**20:.0f}"])
    text = table(["served by", "1 name, µs", "32 names, µs", "memory, MB"], rows)
    text += f"\n\none more letter of a stream: {1e6 * stream['median']:.0f} µs"
    text += f"\nthe file has {size / 1000:.0f} kB; medians of {options.rounds} calls, one thread"
    results = {"seconds": seconds, "letter": stream, "memory": memory, "file_size": size}
    finish(options, "serving", results, text)
    return 0


def letters(clf: Any, texts: list[str], rounds: int) -> dict[str, Any]:
    """The seconds of one more letter of a stream."""
    prepared, seconds = clf.prepare(), []
    for k in range(rounds):
        machine = prepared.stream()
        for letter in texts[k % 32]:
            start = time.perf_counter()
            machine.feed(letter)
            seconds.append(time.perf_counter() - start)
    return spread(seconds[20:])


def in_node(modules: Path, folder: Path, texts: list[str], rounds: int, clf: Any) -> dict[str, Any]:
    """Of onnxruntime-web, by the lines of docs/serving.md. Its answers are compared with the library's."""
    (script,) = re.findall(
        r"```javascript\n(.*?)```", (ROOT / "docs" / "serving.md").read_text(encoding="utf-8"), re.DOTALL
    )
    script = script.replace('create("names.onnx"', 'create(new Uint8Array(readFileSync("names.onnx"))')
    script = script.replace("const session", "ort.env.wasm.numThreads = 1;\nconst session", 1)
    (folder / "serve.mjs").write_text(script + IN_NODE.replace("CALLS", str(rounds)), encoding="utf-8")
    (folder / "texts.json").write_text(json.dumps(texts), encoding="utf-8")
    (folder / "node_modules").symlink_to((modules / "node_modules").resolve())
    subprocess.run([shutil.which("node") or "node", "serve.mjs"], cwd=folder, check=True, timeout=300)
    found = json.loads((folder / "seconds.json").read_text(encoding="utf-8"))
    np.testing.assert_allclose(
        [each["probabilities"] for each in found["answers"]], clf.predict_proba(texts), atol=1e-5
    )
    assert [each["label"] for each in found["answers"]] == clf.predict(texts).tolist()
    return {count: spread(each) for count, each in found["seconds"].items()}


def latency(folder: str, texts: list[str], rounds: int) -> dict[str, Any]:
    """Of each side the seconds of a call with one text, and with all of them."""
    answers: dict[str, Callable[[list[str]], Any]] = {}
    for side in SIDES:
        namespace: dict[str, Any] = {"side": side, "folder": folder}
        exec("import numpy as np\n" + BODIES[side], namespace)
        answers[side] = namespace["answer"]
    seconds: dict[str, dict[str, list[float]]] = {side: {"1": [], "32": []} for side in SIDES}
    for k in range(rounds + 20):
        for side in SIDES[k % len(SIDES) :] + SIDES[: k % len(SIDES)]:  # none always finds the caches of another
            answer = answers[side]
            for count, some in (("1", texts[k % 32 : k % 32 + 1]), ("32", texts)):
                start = time.perf_counter()
                answer(some)
                if k >= 20:  # the first of them warm up
                    seconds[side][count].append(time.perf_counter() - start)
    return {side: {count: spread(each) for count, each in counts.items()} for side, counts in seconds.items()}


def peak(side: str, folder: str, texts: list[str]) -> float:
    """Bytes: the most memory that a fresh process had; the median of three."""
    code = SERVED.format(body=BODIES[side]).replace("sys.argv[1:]", json.dumps([side, folder, json.dumps(texts)]))
    return 1024 * statistics.median(float(python(code, folder).split()[-1]) for _ in range(3))


if __name__ == "__main__":
    sys.exit(main())
