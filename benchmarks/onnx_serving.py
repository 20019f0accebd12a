"""What it costs to serve a classifier by onnxruntime, from the file that `to_onnx` writes, and by the library itself.

Usage::

    python benchmarks/onnx_serving.py
    python benchmarks/onnx_serving.py --out          also writes benchmarks/results/onnx_serving-….json

The model reads first names, letter by letter. Latency is that of a call with one name, and of a call with 32 of ragged
lengths, texts in and labels with probabilities out, on one thread; the sides take turns. Memory, on Linux, is the most
that a fresh process had after some calls, imports included, beside that of one which imports NumPy alone.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

from lib.command import finish, parser, table
from lib.fresh import python
from lib.harness import spread

import xlstm
from xlstm import data

SIDES = ("onnxruntime", "prepared", "estimator")
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
clf = xlstm.load(folder + "/names.xlstm", device="cpu")
call = clf.prepare() if side == "prepared" else clf.predict_proba
def answer(texts):
    return call(texts)
"""
BODIES = {"onnxruntime": BY_ONNX, "prepared": BY_US, "estimator": BY_US, "numpy": "answer = len"}


def main() -> int:
    xlstm.set_threads(1)
    made = parser("onnx_serving", __doc__)
    made.add_argument("--rounds", type=int, default=300, help="calls of each side (default: 300)")
    made.add_argument("--hidden-size", type=int, default=64, help="hidden units (default: 64)")
    options = made.parse_args()
    X, y = data.first_names()
    clf = xlstm.SequenceClassifier(hidden_size=options.hidden_size, max_iter=1, random_state=0, device="cpu")
    clf.fit(X, y)
    texts = [str(name) for name in X[:32]]
    with tempfile.TemporaryDirectory() as folder:
        clf.save(os.path.join(folder, "names.xlstm"))
        xlstm.to_onnx(clf, os.path.join(folder, "names.onnx"))
        size = os.path.getsize(os.path.join(folder, "names.onnx"))
        seconds = latency(folder, texts, options.rounds)
        memory = {side: peak(side, folder, texts) for side in ("numpy", *SIDES)}
    rows = []
    for side in SIDES:
        one, many = (f"{1e6 * seconds[side][n]['median']:.0f}" for n in ("1", "32"))
        rows.append([side, one, many, f"{memory[side] / 2**20:.0f}"])
    rows.append(["NumPy alone", "", "", f"{memory['numpy'] / 2**20:.0f}"])
    text = table(["served by", "1 name, µs", "32 names, µs", "memory, MB"], rows)
    text += f"\n\nthe file has {size / 1000:.0f} kB; medians of {options.rounds} calls, one thread"
    finish(options, "onnx_serving", {"seconds": seconds, "memory": memory, "file_size": size}, text)
    return 0


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
