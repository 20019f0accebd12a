"""Training and answers on batches: the same as on all rows in memory, in bounded memory; what is no source of batches.

The truth is the training of the same rows in memory, which `test_train.py` holds to plain loops: where the buffer holds
all rows, batches have to give the same bits for tokens, and the same to rounding where something was measured.
"""

import csv
import gzip
import json
import os
import re
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import xlstm
from xlstm.batch import Encoded
from xlstm.estimators.run import Digest
from xlstm.moments import Moments
from xlstm.sequences import read

RNG = np.random.default_rng(0)
TEXTS = ["".join(RNG.choice(list("abcDE"), RNG.integers(2, 9))) for _ in range(90)]
LABELS = ["yes" if "a" in text[-3:] else "no" if "b" in text else "zero" for text in TEXTS]
SERIES = [RNG.normal(size=(int(t), 3)) * [1, 50, 1e-3] + [0, 1000, 0] for t in RNG.integers(2, 12, 90)]
NUMBERS = np.stack([RNG.normal(size=90) * 50 + 1000, np.full(90, 7.0)], axis=1)
OF_STEPS = [RNG.integers(0, 4, len(row)).tolist() for row in SERIES]
WEIGHTS = RNG.uniform(0, 2, 90) * (np.arange(90) % 5 > 0)
PLAIN: dict[str, Any] = {"hidden_size": 4, "max_iter": 3, "random_state": 0, "device": "cpu", "kernels": "reference"}


class Source:
    """Columns in batches of n rows, as often as they are asked for."""

    def __init__(self, n: int, *columns: Any) -> None:
        self.n, self.columns, self.passes = n, columns, 0

    def __iter__(self) -> Iterator[Any]:
        self.passes += 1
        for k in range(0, len(self.columns[0]), self.n):
            yield tuple(column[k : k + self.n] for column in self.columns)


def weights_of(estimator: Any) -> np.ndarray:
    return estimator.fitted_state().model.read()


def same(ours: Any, theirs: Any, tolerance: float = 0.0) -> None:
    """Two trainings that went the same way."""
    assert ours.loss_curve_ == pytest.approx(theirs.loss_curve_, rel=tolerance, abs=tolerance)
    assert np.abs(weights_of(ours) - weights_of(theirs)).max() <= tolerance
    assert ours.fitted_state().trainer.optimizer.updates == theirs.fitted_state().trainer.optimizer.updates


# ---------------------------------------------------------------- the same as in memory


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"class_weight": "balanced", "learning_rate": "cosine", "warmup": 3, "dropout": 0.2, "token_dropout": 0.1},
        {"class_weight": {"yes": 3.0, "no": 0.0}, "batch_size": 7, "fold_case": False, "split": "words"},
    ],
    ids=["plain", "balanced", "weights"],
)
@pytest.mark.parametrize("n", [1, 13, 200])
@pytest.mark.filterwarnings("ignore:each of the 90 sequences of X is one token alone")  # cut into words
def test_texts_give_the_same_bits_as_in_memory(n: int, options: dict[str, Any]) -> None:
    whole = xlstm.SequenceClassifier(**PLAIN, **options).fit(TEXTS, LABELS)
    same(xlstm.SequenceClassifier(**PLAIN, **options).fit(Source(n, TEXTS, LABELS)), whole)


@pytest.mark.parametrize("standardize", [True, False])
def test_series_are_scaled_as_in_memory(standardize: bool) -> None:
    options = {**PLAIN, "dtype": "float64", "standardize": standardize, "class_weight": "balanced"}
    whole = xlstm.SequenceClassifier(**options).fit(SERIES, LABELS, WEIGHTS)
    same(xlstm.SequenceClassifier(**options).fit(Source(13, SERIES, LABELS, WEIGHTS)), whole, 1e-9)


@pytest.mark.parametrize("loss", ["squared", "quantile"])
def test_numbers_are_scaled_as_in_memory(loss: str) -> None:
    options = {**PLAIN, "dtype": "float64", "loss": loss}
    whole = xlstm.SequenceRegressor(**options).fit(SERIES, NUMBERS, WEIGHTS)
    ours = xlstm.SequenceRegressor(**options).fit(Source(13, SERIES, NUMBERS, WEIGHTS))
    same(ours, whole, 1e-9)
    source = Source(17, SERIES, NUMBERS, WEIGHTS)
    assert ours.score(source) == pytest.approx(ours.score(SERIES, NUMBERS, WEIGHTS), abs=1e-12)
    assert ours.errors(source) == pytest.approx(ours.errors(SERIES, NUMBERS, WEIGHTS), abs=1e-12)
    np.testing.assert_allclose(ours.predict(Source(17, SERIES)), ours.predict(SERIES), rtol=1e-12)


@pytest.mark.parametrize("options", [{}, {"class_weight": "balanced", "ignore": 3}], ids=["plain", "ignore"])
def test_labels_of_steps_as_in_memory(options: dict[str, Any]) -> None:
    options = {**PLAIN, **options, "dtype": "float64"}
    whole = xlstm.SequenceLabeler(**options).fit(SERIES, OF_STEPS, WEIGHTS)
    ours = xlstm.SequenceLabeler(**options).fit(Source(13, SERIES, OF_STEPS, WEIGHTS))
    same(ours, whole, 1e-9)
    assert ours.score(Source(17, SERIES, OF_STEPS, WEIGHTS)) == pytest.approx(ours.score(SERIES, OF_STEPS, WEIGHTS))
    for part, row in zip(ours.predict(Source(17, SERIES)), ours.predict(SERIES), strict=True):
        np.testing.assert_array_equal(part, row)
    assert len(ours.predict_proba(Source(17, SERIES))) == 90


def test_features_and_several_labels_as_in_memory() -> None:
    lists = [sorted({label, text[0]}) for text, label in zip(TEXTS, LABELS, strict=True)]
    options = {**PLAIN, "dtype": "float64", "class_weight": "balanced"}
    whole = xlstm.SequenceClassifier(**options).fit(TEXTS, lists, WEIGHTS)
    ours = xlstm.SequenceClassifier(**options).fit(Source(13, TEXTS, lists, WEIGHTS))
    same(ours, whole, 1e-9)
    assert ours.predict(Source(17, TEXTS)) == whole.predict(TEXTS)
    assert ours.score(Source(17, TEXTS, lists, WEIGHTS)) == pytest.approx(whole.score(TEXTS, lists, WEIGHTS))
    features = xlstm.SequenceFeatures(**PLAIN).fit(Source(13, TEXTS, LABELS))
    np.testing.assert_allclose(features.transform(Source(17, TEXTS)), features.transform(TEXTS), rtol=1e-4, atol=1e-6)


def test_gaps_are_filled_as_in_memory() -> None:
    gappy = [np.where(np.random.default_rng(k).random(row.shape) < 0.3, np.nan, row) for k, row in enumerate(SERIES)]
    options = {**PLAIN, "dtype": "float64", "missing": "mask"}
    whole = xlstm.SequenceClassifier(**options).fit(gappy, LABELS)
    same(xlstm.SequenceClassifier(**options).fit(Source(13, gappy, LABELS)), whole, 1e-9)


def test_a_later_part_goes_on_from_batches() -> None:
    weights = {label: number + 0.5 for number, label in enumerate(sorted(set(LABELS)))}
    whole, ours = (xlstm.SequenceClassifier(**{**PLAIN, "class_weight": weights}) for _ in range(2))
    for _ in range(2):
        same(ours.partial_fit(Source(13, TEXTS, LABELS)), whole.partial_fit(TEXTS, LABELS))
    for each in (whole, ours):
        each.set_params(warm_start=True, class_weight="balanced")
    whole.fit(TEXTS[:50], LABELS[:50])
    same(ours.fit(Source(7, TEXTS[:50], LABELS[:50])), whole)


def test_classes_are_found_in_whichever_batch_they_come() -> None:
    X, y = [*["ab", "ba"] * 12, "aa"], [*[2, 1] * 12, 0]
    source = Source(4, X, y)  # 0 comes in the seventh batch alone
    same(xlstm.SequenceClassifier(**PLAIN).fit(source), xlstm.SequenceClassifier(**PLAIN).fit(X, y))
    assert source.passes == 1 + PLAIN["max_iter"]
    clf = xlstm.SequenceClassifier(**PLAIN).fit(source)
    with pytest.raises(ValueError, match=r"^batch 0: row 1 has the label 9, which is none of the classes \[0, 1, 2\]"):
        clf.partial_fit(Source(2, ["a", "b"], [0, 9]))
    with pytest.raises(ValueError, match=r"^batch 6: row 0 has the label 0, which is none of the classes \[1, 2\]"):
        xlstm.SequenceClassifier(**PLAIN).partial_fit(source, classes=[1, 2])


def test_validation_rows_are_measured_as_in_memory() -> None:
    options = {**PLAIN, "class_weight": "balanced", "early_stopping": True, "n_iter_no_change": 1, "max_iter": 9}
    aside, rest = (TEXTS[:30], LABELS[:30], WEIGHTS[:30]), (TEXTS[30:], LABELS[30:])
    whole = xlstm.SequenceClassifier(**options).fit(*rest, validation=aside)
    for validation in (aside, Source(7, *aside), xlstm.Batches(Source(7, *aside), buffer=9)):
        ours = xlstm.SequenceClassifier(**options).fit(Source(13, *rest), validation=validation)
        same(ours, whole)
        assert ours.validation_loss_curve_ == pytest.approx(whole.validation_loss_curve_, rel=1e-6)
        assert ours.validation_scores_ == pytest.approx(whole.validation_scores_)
    # The loss is the weighted mean, as of a model that has just these weights.
    numbers = np.searchsorted(whole.classes_, aside[1])
    best = max(range(whole.n_iter_), key=lambda k: (whole.validation_scores_[k], -whole.validation_loss_curve_[k]))
    own = aside[2] * _balanced(rest[1])[numbers]
    losses = -whole.predict_log_proba(aside[0])[np.arange(30), numbers]
    assert whole.validation_loss_curve_[best] == pytest.approx(np.average(losses, weights=own), rel=1e-5)


def _balanced(labels: list[str]) -> np.ndarray:
    counts = np.unique(labels, return_counts=True)[1]
    return len(labels) / (len(counts) * counts)


def test_answers_and_scores_of_batches() -> None:
    clf = xlstm.SequenceClassifier(**PLAIN).fit(TEXTS, LABELS)
    np.testing.assert_array_equal(clf.predict(Source(7, TEXTS, LABELS)), clf.predict(TEXTS))
    for method in ("predict_proba", "predict_log_proba", "decision_function"):
        ours = getattr(clf, method)(xlstm.Batches(Source(7, TEXTS)))
        np.testing.assert_allclose(ours, getattr(clf, method)(TEXTS), rtol=1e-5, atol=1e-6)
    once = (X for X in ([TEXTS[0]], TEXTS[1:5]))  # once is enough
    assert [len(answers) for answers in clf.predict_batches(once)] == [1, 4]
    assert clf.score(Source(7, TEXTS, LABELS)) == pytest.approx(clf.score(TEXTS, LABELS))
    weighted = clf.score(Source(5, TEXTS, LABELS, WEIGHTS))
    assert weighted == pytest.approx(clf.score(TEXTS, LABELS, WEIGHTS))
    with pytest.raises(ValueError, match=r"^batch 2: row 1 of X is an empty sequence"):
        list(clf.predict_batches([["a"], ["b"], ["c", ""]]))


# ---------------------------------------------------------------- the buffer


def seen_in_a_pass(source: Any, buffer: int, **options: Any) -> list[Any]:
    """The parts that a training asks for, as lists of row numbers: each row is a series of its own number."""
    clf = xlstm.SequenceClassifier(**{**PLAIN, "standardize": False, **options})
    parts: list[Any] = []
    inner = xlstm.buffer.Buffer.parts  # type: ignore[attr-defined]

    def noted(self: Any, rng: Any) -> Any:
        for part in inner(self, rng):
            parts.append(part.data.steps[part.data.starts, 0].astype(int).tolist())
            yield part

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(xlstm.buffer.Buffer, "parts", noted)  # type: ignore[attr-defined]
        clf.fit(xlstm.Batches(source, buffer=buffer))
    return parts


@pytest.mark.parametrize("n", [1, 7, 64])
def test_a_small_buffer_gives_each_row_once_and_mixes(n: int) -> None:
    numbered = [np.array([[float(k)]] * (1 + k % 3)) for k in range(300)]
    labels = (np.arange(300) % 2).tolist()
    parts = seen_in_a_pass(Source(n, numbered, labels), 40, batch_size=8, max_iter=2)
    rows = [row for part in parts for row in part]
    assert sorted(rows[:300]) == sorted(rows[300:]) == list(range(300))
    assert rows[:300] != rows[300:]  # another order in each epoch
    assert all(len(part) % 8 == 0 for part in parts if part[-1:] != rows[299:300] and part[-1:] != rows[-1:])
    # Half of the buffer stays: rows of a part come from further back than one buffer's worth of new ones.
    assert any(max(part) - min(part) > 40 + n for part in parts[1:])
    clf = xlstm.SequenceClassifier(**PLAIN, batch_size=8).fit(xlstm.Batches(Source(n, numbered, labels), buffer=40))
    assert clf.fitted_state().trainer.optimizer.updates == PLAIN["max_iter"] * -(-300 // 8)


def test_a_run_is_repeated_by_its_seed() -> None:
    first, second, other = (
        xlstm.SequenceClassifier(**{**PLAIN, "random_state": seed, "batch_size": 8}).fit(
            xlstm.Batches(Source(5, TEXTS, LABELS), buffer=20)
        )
        for seed in (0, 0, 1)
    )
    same(first, second)
    assert first.loss_curve_ != other.loss_curve_


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_moments_of_parts_are_those_of_the_whole(data: st.DataObject) -> None:
    scale = data.draw(st.sampled_from([1e-200, 1e-3, 1.0, 1e200]))
    values = np.array(
        data.draw(st.lists(st.tuples(*[st.integers(-9999, 9999)] * 2), min_size=1, max_size=20)), dtype=np.float64
    )
    values = (values + data.draw(st.sampled_from([0, 1e6]))) * scale
    cuts = sorted(data.draw(st.lists(st.integers(0, len(values)), max_size=4)))
    moments = Moments(2)
    for part in np.split(values, cuts):
        moments.add(part)
    largest = np.abs(values).max(axis=0)
    largest[largest == 0] = 1
    unit = moments.unit
    assert ((unit <= largest) & (largest < 2 * unit)).all()
    assert (np.frexp(unit)[0] == 0.5).all()
    for k in range(2):  # exactly, and rounded once
        exact = [Fraction(value) / Fraction(unit[k]) for value in values[:, k].tolist()]
        mean = sum(exact) / len(exact)
        variance = sum((value - mean) ** 2 for value in exact) / len(exact)
        assert moments.mean[k] == pytest.approx(float(mean), rel=1e-15, abs=1e-15)
        assert moments.deviation[k] == pytest.approx(float(variance) ** 0.5, rel=1e-13)


def test_numbers_that_are_all_alike_do_not_deviate() -> None:
    moments = Moments(4)
    for n in (1, 70_000, 3):
        moments.add(np.tile([0.1, -1e300, 1.7e18, np.nan], (n, 1)))
    moments.add(np.array([[0.1, np.nan, 1.7e18, np.nan]]))
    assert moments.deviation.tolist() == [0, 0, 0, 0]
    np.testing.assert_array_equal((moments.mean * moments.unit)[:3], [0.1, -1e300, 1.7e18])


def test_moments_leave_out_what_is_missing() -> None:
    values = np.array([[1.0, np.nan], [3.0, np.nan], [np.nan, np.nan], [8.0, 5.0]])
    moments = Moments(2)
    moments.add(values[:3])
    moments.add(values[3:])
    np.testing.assert_allclose(moments.mean * moments.unit, np.nanmean(values, axis=0))
    np.testing.assert_allclose(moments.deviation * moments.unit, np.nanstd(values, axis=0))


def test_rows_alone_keep_their_steps() -> None:
    encoded = Encoded.of(np.arange(10), np.array([2, 3, 1, 4]))
    alone = encoded.rows(np.array([3, 0])).alone()
    assert (alone.steps.tolist(), alone.starts.tolist()) == ([6, 7, 8, 9, 0, 1], [0, 4])
    both = Encoded.joined([alone, encoded])
    assert both.steps[both.starts].tolist() == [6, 0, 0, 2, 5, 6]


def test_a_sample_stands_for_the_first_pass() -> None:
    source, options = Source(13, TEXTS, LABELS), {**PLAIN, "class_weight": "balanced"}
    ours = xlstm.SequenceClassifier(**options).fit(xlstm.Batches(source, sample=(TEXTS, LABELS), rows=len(TEXTS)))
    assert source.passes == PLAIN["max_iter"]
    same(ours, xlstm.SequenceClassifier(**options).fit(TEXTS, LABELS))


MEMORY = """
import sys
import xlstm
from pathlib import Path

class Much:
    def __init__(self, batches): self.batches = batches
    def __iter__(self):
        for k in range(self.batches):
            yield [letters * 50 for letters in ("ab", "ba", "bb", "cab") * 25], [k % 2, 1, 0, 0] * 25

def peak(): return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 1024

clf = xlstm.SequenceClassifier(hidden_size=2, max_iter=1, device="cpu", random_state=0, batch_size=100)
def much(batches):
    source = xlstm.Batches(Much(batches), buffer=400)
    clf.fit(source)
    clf.score(source)
    return peak()

print(-much(16) + much(75))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux tells the most memory that was held")
def test_memory_is_bounded_by_the_buffer() -> None:
    """7,500 texts of 112 letters take 7 MB encoded, 1,600 of them 1.4 MB; the buffer holds 400."""
    run = [sys.executable, "-c", MEMORY]
    done = subprocess.run(run, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 2, done.stdout


# ---------------------------------------------------------------- files


def write(path: Path, rows: Any) -> str:
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "wt", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter="\t" if path.name.startswith("t") else ",").writerows(rows)
    return str(path)


def long_form(series: list[np.ndarray], labels: Any, first: int = 0) -> list[Any]:
    rows: list[Any] = [("id", "t", "u", "v", "w", "kind")]
    for k, (row, label) in enumerate(zip(series, labels, strict=True)):
        rows += [(f"s{first + k}", t, *map(repr, step.tolist()), label) for t, step in enumerate(row)]
    return rows


def test_tables_of_texts_train_as_in_memory(tmp_path: Path) -> None:
    rows = list(zip(TEXTS, LABELS, strict=True))
    files = [
        write(tmp_path / "a.csv", [("text", "label"), *rows[:50]]),
        write(tmp_path / "t.tsv.gz", [("label", "text"), *(row[::-1] for row in rows[50:])]),
    ]
    source = xlstm.from_files(files, block=16)
    same(xlstm.SequenceClassifier(**PLAIN).fit(source), xlstm.SequenceClassifier(**PLAIN).fit(TEXTS, LABELS))
    assert repr(source) == f"Batches(<files {files[0]} and 1 more>, buffer=16384)"


@pytest.mark.parametrize("block", [1, 10, 1000])
def test_long_tables_keep_the_rows_of_an_id_together(tmp_path: Path, block: int) -> None:
    files = [
        write(tmp_path / "a.csv", long_form(SERIES[:40], LABELS[:40])),
        write(tmp_path / "b.csv", long_form(SERIES[40:], LABELS[40:], 40)),
    ]
    source = xlstm.from_files(files, id="id", time="t", label="kind", block=block)
    assert [len(row) for X, _ in source for row in X] == [len(row) for row in SERIES]
    assert max(len(X) for X, _ in source) <= block
    whole = [identity for file in files for identity in xlstm.read(file, id="id", time="t", label="kind").ids]
    assert [identity for batch in source for identity in batch.ids] == whole
    options = {**PLAIN, "dtype": "float64"}
    ours = xlstm.SequenceClassifier(**options).fit(source)
    same(ours, xlstm.SequenceClassifier(**options).fit(SERIES, LABELS), 1e-9)
    assert ours.feature_names_in_.tolist() == ["u", "v", "w"]


@pytest.mark.parametrize("block", [1, 7, 1000])
def test_json_lines_and_archives(tmp_path: Path, block: int) -> None:
    whole, steps, arrays = (str(tmp_path / name) for name in ("a.jsonl", "steps.jsonl", "b.npz"))
    objects = [{"x": row.tolist(), "y": label} for row, label in zip(SERIES, LABELS, strict=True)]
    Path(whole).write_text("\n".join(map(json.dumps, objects[:60])), encoding="utf-8")
    ends = np.array([len(row) for row in SERIES[60:]])
    np.savez(arrays, X=np.concatenate(SERIES[60:]), lengths=ends, y=LABELS[60:])
    options = {**PLAIN, "dtype": "float64"}
    ours = xlstm.SequenceClassifier(**options).fit(xlstm.from_files([whole, arrays], block=block))
    same(ours, xlstm.SequenceClassifier(**options).fit(SERIES, LABELS), 1e-9)
    rows = [{"id": k, "t": t, "u": t + k, "label": k % 2} for k in range(9) for t in range(1 + k % 3)]
    Path(steps).write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    found = [len(X[k]) for X, _ in xlstm.from_files(steps, id="id", time="t", block=block) for k in range(len(X))]
    assert found == [1, 2, 3] * 3


def test_labels_of_a_table_are_of_one_kind(tmp_path: Path) -> None:
    table = write(tmp_path / "a.csv", [("text", "label"), ("a", "x"), ("b", "y"), ("c", "1"), ("d", "2")])
    assert [y.tolist() for _, y in xlstm.from_files(table, block=2)] == [["x", "y"], ["1", "2"]]
    table = write(tmp_path / "b.csv", [("text", "label"), ("a", "1"), ("b", "2"), ("c", "x"), ("d", "y")])
    whole = f"{table}, lines 4 to 5: the labels are text, such as 'x', those before were numbers: make all of one kind."
    with pytest.raises(ValueError, match=f"^{re.escape(whole)}$"):
        list(xlstm.from_files(table, block=2))


@pytest.mark.parametrize(
    ("tables", "options", "message"),
    [
        ([[("text", "label")]], {}, "0.csv has a header but no rows."),
        (
            [[("id", "u", "v"), (1, 2, 3)], [("v", "id"), (3, 2)]],
            {"id": "id"},
            "1.csv lacks the columns 'u', beside",
        ),
        (
            [[("id", "u"), (1, 2)], [("v", "u", "id"), (3, 3, 2)]],
            {"id": "id"},
            "1.csv has the columns 'v' too many, beside",
        ),
        (
            [[("id", "u"), *((k // 2, k) for k in range(8)), (1, 9), (1, 9)]],
            {"id": "id", "block": 3},
            "the id '1' in the column 'id' of",
        ),
        ([[("id", "u"), (1, "x")]], {"id": "id"}, "line 2 of"),
    ],
    ids=["no rows", "a feature vanishes", "a feature appears", "an id comes back", "no number"],
)
def test_wrong_tables(tmp_path: Path, tables: Any, options: dict[str, Any], message: str) -> None:
    files = [write(tmp_path / f"{k}.csv", rows) for k, rows in enumerate(tables)]
    with pytest.raises(ValueError, match=re.escape(message)):
        list(xlstm.from_files(files, **options))


def test_files_without_labels_are_enough_to_predict(tmp_path: Path) -> None:
    table = xlstm.from_files(write(tmp_path / "a.csv", [("text",), *((text,) for text in TEXTS)]), block=20)
    clf = xlstm.SequenceClassifier(**PLAIN).fit(TEXTS, LABELS)
    np.testing.assert_array_equal(clf.predict(table), clf.predict(TEXTS))
    with pytest.raises(TypeError, match=r"^batch 0 has no y: expected \(X, y\) or \(X, y, sample_weight\)\.$"):
        clf.fit(table)


# ---------------------------------------------------------------- what is wrong


class Changing:
    """Other batches in each pass."""

    def __init__(self, *passes: Any) -> None:
        self.passes = list(passes)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.passes.pop(0) if len(self.passes) > 1 else self.passes[0])


class Frame:
    """What is asked of a frame: named columns."""

    def __init__(self, **columns: Any) -> None:
        self.columns, self._values = list(columns), np.stack(list(columns.values()), axis=1)

    def __len__(self) -> int:
        return len(self._values)

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return self._values


GOOD = (["ab", "b", "a"], [0, 1, 0])
ONCE = (
    "can be read only once, and training reads its batches again in every epoch: pass an object whose __iter__ begins "
    "anew each time, or the function that makes the iterator, xlstm.Batches(function)."
)
EXPECTED = "expected (X, y) or (X, y, sample_weight)."
WRONG: dict[str, tuple[Any, type[Exception], str]] = {
    "a generator": (lambda: (batch for batch in [GOOD]), TypeError, f"a generator {ONCE}"),
    "an iterator": (lambda: iter([GOOD]), TypeError, f"a list_iterator {ONCE}"),
    "read once inside": (
        lambda: Changing([GOOD], []),
        ValueError,
        f"the batches gave nothing when they were read again: their iterator {ONCE}",
    ),
    "no batch": (lambda: Changing([]), ValueError, f"the batches gave nothing: {EXPECTED[:-1]}, one or more."),
    "an empty batch": (
        lambda: Changing([GOOD, ([], [])]),
        ValueError,
        "batch 1: X is empty: Found array with 0 sample(s), while a minimum of 1 is required.",
    ),
    "no pair": (lambda: Changing([GOOD, "ab"]), TypeError, f"batch 1 is a str, {EXPECTED}"),
    "four things": (lambda: Changing([(*GOOD, None, None)]), TypeError, f"batch 0 is a tuple of 4, {EXPECTED}"),
    "no y": (lambda: Changing([GOOD, (GOOD[0], None)]), TypeError, f"batch 1 has no y: {EXPECTED}"),
    "fewer labels": (
        lambda: Changing([GOOD, (["a", "b"], [1])]),
        ValueError,
        "batch 1: X has 2 sequences, but y has 1 labels: inconsistent numbers of samples. One sequence is [X], its "
        "label [y].",
    ),
    "a label missing": (
        lambda: Changing([GOOD, (["a", "b"], [1, None])]),
        ValueError,
        "batch 1: y[1] is None: Input contains NaN or nothing, every row needs a label.",
    ),
    "labels of another kind": (
        lambda: Changing([GOOD, (["a", "b"], ["x", "y"])]),
        ValueError,
        "batch 1: Unknown label type: y holds strings, before there were numbers.",
    ),
    "one class": (
        lambda: Changing([(["a", "b"], [1, 1])] * 3),
        ValueError,
        "y holds a single class, 1: a classifier needs two or more (1 class given).",
    ),
    "numbers after texts": (
        lambda: Changing([GOOD, ([[1.0], [2.0]], [0, 1])]),
        ValueError,
        "batch 1: X holds numbers, the batches before it held characters.",
    ),
    "words after characters": (
        lambda: Changing([GOOD, ([["a"], ["b"]], [0, 1])]),
        ValueError,
        "batch 1: X holds words, the batches before it held characters.",
    ),
    "another feature": (
        lambda: Changing([(np.ones((2, 3, 2)), [0, 1]), (np.ones((2, 3, 1)), [0, 1])]),
        ValueError,
        "batch 1: X has 1 features a step, the batches before it had 2.",
    ),
    "another name": (
        lambda: Changing(
            [([Frame(u=[1.0], v=[2.0])] * 2, [0, 1]), ([Frame(v=[1.0], w=[2.0])] * 2, [0, 1])],
        ),
        ValueError,
        "batch 1: the features of X are matched by name with those of the training, 'u', 'v': it lacks 'u' and has "
        "'w' too many.",
    ),
    "another length": (
        lambda: Changing([(np.ones((2, 3)), [0, 1]), (np.ones((2, 4)), [0, 1])]),
        ValueError,
        "batch 1: X is an array (n, 4), the batches before it were an array (n, 3): pass (n, time, 1) or a list of "
        "(time_i, 1) in each where lengths differ.",
    ),
    "NaN": (
        lambda: Changing([([[1.0]], [0]), ([[1.0], [2.0, np.nan]], [0, 1])]),
        ValueError,
        "batch 1: row 1 of X holds NaN in ",
    ),
    "a negative weight": (
        lambda: Changing([(*GOOD, [1, 1, 1]), (*GOOD, [1, -1, 1])]),
        ValueError,
        "batch 1: sample_weight[1] is -1.0: weights must be finite and 0 or more.",
    ),
    "a weight too large": (
        lambda: Changing([(*GOOD, [1, 1e200, 1])]),
        ValueError,
        "batch 0: sample_weight[1] is 1e+200: divide all weights by their largest.",
    ),
    "no weight": (
        lambda: Changing([(*GOOD, [0, 0, 0])]),
        ValueError,
        "all rows of the batches have weight zero: nothing could be learned.",
    ),
    "a small buffer": (
        lambda: xlstm.Batches([GOOD] * 40, buffer=40),
        ValueError,
        "buffer=40 rows cannot be mixed, where a batch of training has 32: it must hold two of them or more, 64, or "
        "set batch_size.",
    ),
    "a function that makes none": (
        lambda: xlstm.Batches(lambda: 3),
        TypeError,
        "the function of the batches gave int, expected an iterator of batches.",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_said_and_changes_nothing(case: str) -> None:
    make, kind, message = WRONG[case]
    clf = xlstm.SequenceClassifier(**PLAIN).fit(*GOOD)
    before = weights_of(clf).tobytes()
    with pytest.raises(kind, match=f"^{re.escape(message)}"):
        clf.fit(make())
    assert weights_of(clf).tobytes() == before
    assert clf.n_iter_ == PLAIN["max_iter"]


@pytest.mark.parametrize(
    ("make", "kind", "message"),
    [
        (lambda: xlstm.Batches(3), TypeError, "source must give batches when it is iterated over, or be a function"),
        (lambda: xlstm.Batches(iter([GOOD])), TypeError, f"a list_iterator {ONCE}"),
        (lambda: xlstm.Batches([GOOD], buffer=0), ValueError, "buffer must be a number of rows, 1 or more, got 0."),
        (lambda: xlstm.Batches([GOOD], buffer="1"), ValueError, "buffer must be a number of rows, 1 or more, got '1'."),
        (lambda: xlstm.Batches([GOOD], sample=GOOD), ValueError, "sample is given without rows: either a sample"),
        (lambda: xlstm.Batches([GOOD], rows=3), ValueError, "rows is given without sample: either a sample"),
        (lambda: xlstm.Batches([GOOD], rows=3, sample=GOOD[:1]), TypeError, f"sample is a tuple of 1, {EXPECTED}"),
        (lambda: xlstm.from_files([]), ValueError, "no files are given: pass a path, or a list of paths."),
        (lambda: xlstm.from_files("a.csv", block=0), ValueError, "block must be a number of rows, 1 or more, got 0."),
    ],
)
def test_what_batches_refuse(make: Any, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=f"^{re.escape(message)}"):
        make()


@pytest.mark.parametrize(
    ("fit", "kind", "message"),
    [
        (lambda clf, b: clf.fit(b, GOOD[1]), TypeError, "y is given beside batches: they hold their own, (X, y) each."),
        (
            lambda clf, b: clf.fit(b, sample_weight=[1]),
            TypeError,
            "sample_weight is given beside batches: they hold their own, (X, y, sample_weight) each.",
        ),
        (
            lambda clf, b: clf.set_params(early_stopping=True).fit(b),
            ValueError,
            "early_stopping sets rows aside to validate, which cannot be done with batches: pass validation=(X, y) or "
            "other batches, or set early_stopping=False.",
        ),
        (
            lambda clf, b: clf.fit(b, validation=(["a"], [5])),
            ValueError,
            "validation: row 0 has the label 5, which is none of the classes [0, 1].",
        ),
        (lambda clf, b: clf.fit(*GOOD, validation=iter([GOOD])), TypeError, f"validation: a list_iterator {ONCE}"),
        (
            lambda clf, b: clf.fit(b, validation=Source(1, ["a"], [5])),
            ValueError,
            "validation: batch 0: row 0 has the label 5, which is none of the classes [0, 1].",
        ),
        (
            lambda clf, b: clf.fit(xlstm.Batches([GOOD], rows=3, sample=(["a", ""], [0, 1]))),
            ValueError,
            "sample: row 1 of X is an empty sequence: each needs at least one step.",
        ),
        (lambda clf, b: clf.fit(b, validation=Source(1, [], [])), ValueError, "validation: the batches gave nothing."),
        (lambda clf, b: clf.predict(xlstm.Batches([()])), TypeError, "batch 0 is an empty tuple, expected X, or a"),
        (lambda clf, b: clf.predict(Source(1, [])), ValueError, "the batches gave nothing: there is no answer."),
        (lambda clf, b: clf.score(Source(1, [], [])), ValueError, "the batches gave nothing: there is no score."),
        (lambda clf, b: clf.predict(x for x in [GOOD[0]]), TypeError, "X must be a list of sequences or an array, got"),
        (lambda clf, b: clf.predict({1: GOOD[0]}.values()), TypeError, "X must be a list of sequences or an array"),
    ],
)
def test_what_goes_wrong_around_batches(fit: Any, kind: type[Exception], message: str) -> None:
    clf = xlstm.SequenceClassifier(**PLAIN).fit(*GOOD)
    before = weights_of(clf).tobytes()
    with pytest.raises(kind, match=f"^{re.escape(message)}"):
        fit(clf, xlstm.Batches([GOOD, GOOD]))
    assert weights_of(clf).tobytes() == before


def test_another_number_of_rows_is_told_once() -> None:
    source = Changing([GOOD] * 3, [GOOD] * 2)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        clf = xlstm.SequenceClassifier(**PLAIN).fit(source)
    assert [str(warning.message) for warning in caught] == [
        "the batches gave 6 rows in one pass and 9 in another: scores and the schedule go by what they give, and by "
        "what they gave at first."
    ]
    assert clf.n_iter_ == PLAIN["max_iter"]


def test_a_model_of_batches_is_saved_and_goes_on(tmp_path: Path) -> None:
    clf = xlstm.SequenceClassifier(**PLAIN).fit(Source(13, TEXTS, LABELS))
    clf.save(tmp_path / "model.xlstm")
    again = xlstm.load(tmp_path / "model.xlstm", device="cpu")
    np.testing.assert_array_equal(again.predict_proba(TEXTS), clf.predict_proba(TEXTS))
    again.set_params(kernels="reference")
    same(again.partial_fit(Source(13, TEXTS, LABELS)), clf.partial_fit(TEXTS, LABELS))


def test_the_kept_result_of_a_million_rows_holds_what_was_asked() -> None:
    results = Path(__file__).parents[2] / "benchmarks" / "results"
    for path in results.glob("memory-*.json"):
        result = json.loads(path.read_text(encoding="utf-8"))
        assert result["settings"]["rows"] == 1_000_000
        assert result["same_bits"]
        assert {row["way"]: row["megabytes"] for row in result["rows"]}["files"] <= 400


# ---------------------------------------------------------------- trainings that go on


class Stopped(Exception):
    """As sudden as an exception can be."""


def test_a_training_that_was_stopped_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    options = {**PLAIN, "max_iter": 6, "dropout": 0.3, "class_weight": "balanced", "batch_size": 8}
    aside = (TEXTS[:20], LABELS[:20])

    def fit(stop_after: int | None, texts: Any = TEXTS, **more: Any) -> xlstm.SequenceClassifier:
        def stop(progress: Any) -> None:
            if progress.epoch == stop_after:
                raise Stopped

        source = xlstm.Batches(Source(7, texts, LABELS), buffer=24)  # smaller than the data: rows are drawn from it
        return xlstm.SequenceClassifier(**options).fit(source, validation=aside, callbacks=stop, **more)

    path = tmp_path / "run.xlstm"
    for epoch in (1, 4):
        with pytest.raises(Stopped):
            fit(epoch, resume=path)
    with pytest.raises(ValueError, match=r"run.xlstm holds a training on another X: pass the same, in the same order"):
        fit(None, [*TEXTS[1:], TEXTS[0]], resume=path)
    ours, whole = fit(None, resume=path), fit(None)
    same(ours, whole)
    assert ours.validation_loss_curve_ == whole.validation_loss_curve_
    same(fit(None, resume=path), whole)  # it has ended
    with pytest.raises(
        ValueError, match=r"run.xlstm holds a training on other data: batch 0: this model was trained on"
    ):
        xlstm.SequenceClassifier(**options).fit(Source(7, SERIES, LABELS), validation=aside, resume=path)


# ---------------------------------------------------------------- what batches are taken for


class Lists(Source):
    """As PyTorch's DataLoader gives them: its columns in a list."""

    def __iter__(self) -> Iterator[Any]:
        return (list(batch) for batch in super().__iter__())


@pytest.mark.parametrize("kind", ["strings", "words", "arrays", "weighted"])
def test_lists_are_read_to_predict_as_they_are_to_fit(kind: str) -> None:
    arrays = np.stack([row[:2] for row in SERIES]), np.array(LABELS)
    columns: dict[str, tuple[Any, ...]] = {
        "strings": (TEXTS, LABELS),
        "words": ([list(text) for text in TEXTS], LABELS),
        "arrays": arrays,
        "weighted": (*arrays, WEIGHTS),
    }
    X, *others = columns[kind]
    options = {**PLAIN, "split": "words"} if kind == "strings" else PLAIN
    source = Lists(7, X, *others)
    clf = xlstm.SequenceClassifier(**options).fit(source)
    np.testing.assert_array_equal(clf.predict(source), clf.predict(X))
    assert [len(part) for part in clf.predict_batches(source)] == [len(part) for part, *_ in source]
    assert len(clf.predict_proba(xlstm.Batches(source))) == len(X)


def test_batches_of_a_dataloader() -> None:
    torch = pytest.importorskip("torch")
    X, y = torch.tensor(np.stack([row[:2] for row in SERIES])), torch.tensor(np.arange(90) % 3)
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(X, y), batch_size=40)
    clf = xlstm.SequenceClassifier(**PLAIN).fit(loader)
    assert clf.score(loader) == pytest.approx(np.mean(clf.predict(loader) == y.numpy()))
    np.testing.assert_array_equal(clf.predict(loader), clf.predict(X))


def test_lists_of_sequences_are_x_where_the_first_cannot_be_anything_else() -> None:
    words = [list(text[:2]) for text in TEXTS[:7]]  # the last batch is two lists of one length
    clf = xlstm.SequenceClassifier(**PLAIN).fit([list(text) for text in TEXTS], LABELS)
    batches = [words[:5], words[5:]]
    for source in (xlstm.Batches(batches), Changing(batches)):
        np.testing.assert_array_equal(clf.predict(source), clf.predict(words))
    pairs = [words[:2], words[2:4]]
    assert [len(part) for part in clf.predict_batches(pairs)] == [2, 2]  # a list of batches is no source of them
    np.testing.assert_array_equal(clf.predict(Changing([(X,) for X in pairs])), clf.predict(words[:4]))
    message = "batch 1 is a list of 1 that is not (X, y), for which those before it were taken: make each a tuple, "
    with pytest.raises(TypeError, match=f"^{re.escape(message)}"):
        clf.predict(Changing([[words[:2], ["yes", "no"]], words[:1]]))


@pytest.mark.parametrize("kind", ["lists", "whole numbers", "arrays", "tensors", "float32"])
@pytest.mark.parametrize("rows", [2, 3])
def test_lists_of_two_or_three_series_of_one_length_are_x(kind: str, rows: int) -> None:
    """A list of numbers is no X, so it is no (X, y) that begins with it."""
    series = [row[:2, 0].round() for row in SERIES[:6]]
    of_kind: dict[str, Callable[[Any], Any]] = {
        "lists": lambda row: row.tolist(),
        "whole numbers": lambda row: row.astype(int).tolist(),
        "arrays": lambda row: row,
        "tensors": lambda row: pytest.importorskip("torch").tensor(row),
        "float32": lambda row: list(row.astype(np.float32)),
    }
    batches = [[of_kind[kind](row) for row in series[k : k + rows]] for k in range(0, 6, rows)]
    clf = xlstm.SequenceClassifier(**PLAIN).fit([row[:, :1] for row in SERIES], LABELS)
    np.testing.assert_allclose(
        clf.predict_proba(Changing(batches)), clf.predict_proba([row[:, None] for row in series])
    )


def test_answers_are_of_the_widest_dtype_of_all_batches() -> None:
    narrow, wide = (np.arange(3, dtype=kind) for kind in (np.float32, np.float64))
    X = SERIES[:3]
    for first, second, kind in ((narrow, wide, np.float64), (wide, narrow, np.float64), (narrow, narrow, np.float32)):
        model = xlstm.SequenceRegressor(**PLAIN).fit(Changing([(X, first), (X, second)]))
        assert model.predict(X).dtype == kind
        same(model, xlstm.SequenceRegressor(**PLAIN).fit(X * 2, np.concatenate([first, second])), 1e-4)


def test_of_the_first_batch_x_is_doubted_and_of_a_sample_y_too() -> None:
    padded = np.array([[1.0, 2.0, np.nan], [1.0, np.nan, np.nan], [1.0, 2.0, 3.0], [2.0, 2.0, 2.0]])
    model = xlstm.SequenceClassifier(**{**PLAIN, "missing": "mask"})
    with pytest.warns(xlstm.AmbiguousDataWarning, match="^NaN stands at the ends of 2 of the 4 sequences of X"):
        model.fit(Source(4, padded, [0, 1, 0, 1]))
    several = ([["a", "b"], ["b", "a"]], [["x", "y"], ["y", "z"]])
    model = xlstm.SequenceClassifier(**PLAIN)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.fit(Changing([several]))  # as many labels as steps, by chance in so few rows
    with pytest.warns(xlstm.AmbiguousDataWarning, match="^y has as many labels in each row as its sequence has steps"):
        model.fit(xlstm.Batches([several], sample=several, rows=2))


# ---------------------------------------------------------------- rows of weight 0


def bad_rows(n: int) -> tuple[list[Any], np.ndarray, np.ndarray]:
    """Good rows with a weight, and beside each a wrong one without."""
    X = [row for good in SERIES[:n] for row in (good, np.full_like(good, 1e9))]
    y = np.stack([np.array([row[-1, 0] for row in SERIES[:n]]), np.full(n, -9999.0)], axis=1).reshape(-1)
    return X, y, np.tile([1.0, 0.0], n)


@pytest.mark.parametrize("in_batches", [False, True])
@pytest.mark.parametrize("missing", ["error", "mask"])
def test_rows_of_weight_0_measure_nothing(missing: str, in_batches: bool) -> None:
    X, y, weights = bad_rows(20)
    model = xlstm.SequenceRegressor(**PLAIN, missing=missing)
    model.fit(Source(4, X, y, weights)) if in_batches else model.fit(X, y, weights)
    encoder, task = model.fitted_state().encoder, model.fitted_state().task
    steps = np.concatenate(X[::2])
    np.testing.assert_allclose(encoder.mean, steps.mean(axis=0), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(encoder.scale, steps.std(axis=0), rtol=1e-9)
    np.testing.assert_allclose(task.center, y[::2].mean(), rtol=1e-12)
    np.testing.assert_allclose(task.scale, y[::2].std(), rtol=1e-9)


@pytest.mark.parametrize("in_batches", [False, True])
def test_no_token_is_learned_of_rows_of_weight_0(in_batches: bool) -> None:
    X, y, weights = ["ab", "ba", "az"], [0, 1, 1], np.array([1.0, 2.0, 0.0])
    clf = xlstm.SequenceClassifier(**PLAIN)
    clf.fit(Source(1, X, y, weights)) if in_batches else clf.fit(X, y, weights)
    assert clf.fitted_state().encoder.vocabulary == ["a", "b"]


def test_where_no_row_that_trains_has_a_weight_that_is_said() -> None:
    model = xlstm.SequenceRegressor(**PLAIN)
    with pytest.raises(ValueError, match=r"^all rows of the batches have weight zero: nothing could be learned\.$"):
        model.fit(Source(7, SERIES, NUMBERS, np.zeros(90)))
    options = {**PLAIN, "early_stopping": True, "validation_fraction": 0.5, "max_iter": 1}

    def fits() -> None:
        for seed in range(20):  # in some of them the one row that has a weight is set aside
            model = xlstm.SequenceRegressor(**{**options, "random_state": seed})
            model.fit(SERIES[:4], [1, 2, 3, 4], [0, 0, 0, 1])

    with pytest.raises(ValueError, match=r"^all rows of the training part have weight zero: nothing could be learned"):
        fits()


# ---------------------------------------------------------------- labels that do not count


@pytest.mark.filterwarnings("ignore:no label of y is")
@pytest.mark.parametrize("in_batches", [False, True])
def test_labels_to_validate_with_have_to_count(in_batches: bool) -> None:
    ignored = [[-1] * len(row) for row in SERIES[:3]]
    aside: Any = (SERIES[:3], ignored)
    model = xlstm.SequenceLabeler(**PLAIN, ignore=-1)
    with pytest.raises(ValueError, match=r"^validation: no label of y counts: there is nothing to measure\.$"):
        model.fit(SERIES, OF_STEPS, validation=Source(2, *aside) if in_batches else aside)
    assert not model.__sklearn_is_fitted__()
    model.fit(SERIES, OF_STEPS, validation=([*SERIES[:3], SERIES[3]], [*ignored, OF_STEPS[3]]))
    assert np.isfinite(model.validation_loss_curve_).all()


@pytest.mark.parametrize("names", [None, ["low", "high", "out", "up"]])
@pytest.mark.parametrize("silent", [0, 1, 2])
def test_a_batch_may_hold_no_label_that_counts(names: list[str] | None, silent: int) -> None:
    """Wherever it stands, the first place included, it is trained on as in memory: as rows without a loss."""
    named = OF_STEPS if names is None else [[names[label] for label in row] for row in OF_STEPS]
    ignore = -1 if names is None else "-"
    y = [[ignore] * len(row) if k // 40 == silent else row for k, row in enumerate(named)]
    settings = {**PLAIN, "ignore": ignore, "dtype": "float64", "class_weight": "balanced"}
    expected = xlstm.SequenceLabeler(**settings).fit(SERIES, y)
    found = xlstm.SequenceLabeler(**settings).fit(Source(40, SERIES, y))
    assert found.classes_.tolist() == expected.classes_.tolist()
    same(found, expected, 1e-9)


def test_labels_of_batches_have_to_count_somewhere() -> None:
    ignored = [[-1] * len(row) for row in SERIES]
    model = xlstm.SequenceLabeler(**PLAIN, ignore=-1)
    with pytest.raises(
        ValueError, match=r"^no label of y counts: all are the one that `ignore` names, so nothing could"
    ):
        model.fit(Source(40, SERIES, ignored))
    assert not hasattr(model, "classes_")


@pytest.mark.filterwarnings("ignore:no label of y is")
def test_labels_of_batches_have_to_count_in_each_pass() -> None:
    ignored = [[-1] * len(row) for row in SERIES[:3]]
    model = xlstm.SequenceLabeler(**PLAIN, ignore=-1).fit(SERIES, OF_STEPS)
    with pytest.raises(ValueError, match=r"^every label of y is -1, which does not count: nothing could be learned\.$"):
        model.partial_fit(Source(2, SERIES[:3], ignored))
    changing = Changing([(SERIES[:3], OF_STEPS[:3])], [(SERIES[:3], ignored)])
    with pytest.raises(ValueError, match=r"^no label of y counts in what was read again: there is nothing to measure"):
        model.fit(changing)


# ---------------------------------------------------------------- what y was, for a training that goes on


class Column:
    """A column as pandas has it: its printed form leaves most of it out."""

    def __init__(self, values: Any) -> None:
        self.values, self.shape = np.asarray(values), np.shape(values)

    def __len__(self) -> int:
        return len(self.values)

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return self.values

    def __repr__(self) -> str:
        return "0 … 89"


def of_torch(values: Any) -> Any:
    return pytest.importorskip("torch").tensor(np.tile(values, 20))


@pytest.mark.parametrize("form", [Column, of_torch, lambda y: [Decimal(int(each)) for each in y]])
def test_another_y_in_the_middle_is_another_training(form: Any, tmp_path: Path) -> None:
    y = np.arange(90) % 7
    other = np.where(np.arange(90) == 45, 6, y)

    def fit(y: Any) -> None:
        y = form(y)
        X = SERIES * (len(y) // 90)
        model = xlstm.SequenceRegressor(**{**PLAIN, "max_iter": 1})
        model.fit(Changing([(X, y)]), resume=tmp_path / "run.xlstm")

    fit(y)
    fit(y)
    with pytest.raises(ValueError, match=r"run\.xlstm holds a training on another y: pass the same"):
        fit(other)


OF_SETS = """
import sys
import numpy as np
from xlstm.estimators.run import Digest
from xlstm.sequences import read

digest = Digest("float32")
rows = [{"red", "green", "blue", "a", "b"}, frozenset(["red", "c", "d"]), dict.fromkeys("xyz").keys()]
digest.add(read(["ab", "b", "c"]), rows, np.ones(3))
column = np.empty(3, dtype=object)
column[:] = rows
digest.add(read(["ab", "b", "c"]), column, np.ones(3))
print(digest.found()["y"])
"""


def test_sets_of_labels_are_the_same_in_every_process() -> None:
    def told(seed: str) -> str:
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        run = [sys.executable, "-c", OF_SETS]
        done = subprocess.run(run, capture_output=True, text=True, timeout=60, check=True, env=environment)
        return done.stdout

    assert told("0") == told("1")


def test_what_cannot_be_told_from_others_is_refused() -> None:
    digest = Digest("float32")
    with pytest.raises(TypeError, match=r"^y holds object, which `resume` cannot compare: pass strings or numbers\.$"):
        digest.add(read(["ab"]), [object()], np.ones(1))
    same_values: list[Any] = [np.array(["a", "b"]), ["a", "b"], (np.str_("a"), "b"), Column(["a", "b"])]
    found = set()
    for y in same_values:
        digest = Digest("float32")
        digest.add(read(["ab", "b"]), y, np.ones(2))
        found.add(digest.found()["y"])
    assert len(found) == 1
