"""Model files that older versions wrote, kept under tests/files: they load, answer as they did, and train on.

What a file holds comes back to the last bit everywhere. What is computed from it is compared to rounding, and to the
last bit with XLSTM_SAME_BITS=1: another compiler or BLAS may round otherwise.
"""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from xlstm.backends import cpu

import xlstm

from ..conftest import TARGETS, usable_target

FILES = Path(__file__).parents[1] / "files" / "v1"
EXPECTED: dict[str, dict[str, Any]] = json.loads((FILES / "expected.json").read_text(encoding="utf-8"))
SAME_BITS = os.environ.get("XLSTM_SAME_BITS") == "1"

named = pytest.mark.parametrize("name", EXPECTED)


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch):
    monkeypatch.delenv("XLSTM_DEVICE", raising=False)


@pytest.fixture(params=["reference", *TARGETS])
def path(request, monkeypatch):
    """Each kernel path, by the name that `expected.json` has for it."""
    target = None if request.param == "reference" else usable_target(request.param)
    monkeypatch.setattr(cpu, "target", target)
    return request.param


class Frame:
    """As much of a data frame as is looked at."""

    def __init__(self, values: Any, columns: list[str]) -> None:
        self.values, self.columns = np.array(values), columns

    def __len__(self) -> int:
        return len(self.values)

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return self.values


def sequences_of(expected: dict[str, Any]) -> Any:
    X = expected["X"]
    if expected["kind"] == "series":
        return [np.array(x) for x in X]
    if expected["kind"] == "columns":
        return Frame(X, expected["feature_names"])
    return np.array(X) if expected["kind"] == "block" else X


def digest(arrays: Iterable[Any]) -> str:
    found = hashlib.sha256()
    for array in arrays:
        found.update(np.ascontiguousarray(array).tobytes())
    return found.hexdigest()


def load(name: str) -> xlstm.SequenceClassifier:
    return xlstm.load(FILES / f"{name}.xlstm", "cpu")


def check_content(clf: xlstm.SequenceClassifier, expected: dict[str, Any]) -> None:
    """All that the file holds, to the last bit."""
    fitted = clf.fitted_state()
    trainer = fitted.trainer
    assert clf.classes_.tolist() == expected["classes"]
    assert clf.classes_.dtype.str == expected["classes_dtype"]
    assert [type(label) for label in clf.classes_.tolist()] == [type(label) for label in expected["classes"]]
    assert digest([fitted.model.read()]) == expected["parameters"]
    assert digest(trainer.optimizer.moments) == expected["moments"]
    assert (trainer.optimizer.updates, trainer.optimizer.solver) == (expected["updates"], expected["solver"])
    state = json.dumps(trainer.rng.bit_generator.state, sort_keys=True).encode()
    assert hashlib.sha256(state).hexdigest() == expected["generator"]
    assert clf.n_iter_ == expected["epochs"]
    for attribute in ("loss_curve", "accuracy_curve", "validation_loss_curve", "validation_scores"):
        found = [float(value).hex() for value in getattr(clf, f"{attribute}_", [])]
        assert found == expected[attribute], attribute
    if expected["validation_scores"]:
        assert clf.best_validation_score_ == max(clf.validation_scores_)
    names = getattr(clf, "feature_names_in_", None)
    assert (None if names is None else names.tolist()) == expected["feature_names"]
    if expected["columns"] is not None:
        assert clf.n_features_in_ == expected["columns"]
    for setting, value in expected["settings"].items():
        assert getattr(clf, setting) == value, setting
    weight = expected["class_weight"]
    assert clf.class_weight == (dict(map(tuple, weight)) if isinstance(weight, list) else weight)


def check_answers(clf: xlstm.SequenceClassifier, expected: dict[str, Any], path: str) -> None:
    X = sequences_of(expected)
    p = np.array([[float.fromhex(value) for value in row] for row in expected["probabilities"][path]])
    found = clf.predict_proba(X)
    assert str(found.dtype) == expected["dtype"]
    if SAME_BITS:
        np.testing.assert_array_equal(found, p)
    else:
        np.testing.assert_allclose(found, p, rtol={"float32": 1e-6, "float64": 1e-13}[expected["dtype"]])
    assert clf.predict(X).tolist() == expected["predicted"]


def test_all_files_are_looked_at():
    assert len(EXPECTED) == 12
    assert {file.stem for file in FILES.glob("*.xlstm")} == set(EXPECTED)


@named
def test_an_old_file_holds_what_it_held(name):
    check_content(load(name), EXPECTED[name])


@named
def test_an_old_file_answers_as_it_did(name, path):
    if path not in EXPECTED[name]["probabilities"]:
        pytest.skip(f"the files of that time know nothing of {path}")
    clf = load(name)
    assert clf.kernels_ == ("reference" if clf.kernels == "reference" else path)
    check_answers(clf, EXPECTED[name], path)


@named
def test_an_old_file_saved_again_is_the_same_model(name, tmp_path):
    load(name).save(tmp_path / "again.xlstm")
    again = xlstm.load(tmp_path / "again.xlstm", "cpu")
    check_content(again, EXPECTED[name])
    X = sequences_of(EXPECTED[name])
    np.testing.assert_array_equal(again.predict_proba(X), load(name).predict_proba(X))


@named
def test_an_old_file_trains_on(name, tmp_path):
    clf, X = load(name), sequences_of(EXPECTED[name])
    y = np.array(EXPECTED[name]["predicted"], dtype=EXPECTED[name]["classes_dtype"])
    weights = None if clf.class_weight == "balanced" else clf.class_weight  # of parts it is not known
    clf.set_params(class_weight=weights).partial_fit(X, y)
    assert clf.n_iter_ == EXPECTED[name]["epochs"] + 1
    assert clf.fitted_state().trainer.optimizer.updates > EXPECTED[name]["updates"]
    assert np.isfinite(clf.loss_)
    before = digest([clf.fitted_state().model.read()])
    assert before != EXPECTED[name]["parameters"]
    # From a file of today it goes on in the same way.
    load(name).save(tmp_path / "again.xlstm")
    again = xlstm.load(tmp_path / "again.xlstm", "cpu").set_params(class_weight=weights).partial_fit(X, y)
    assert digest([again.fitted_state().model.read()]) == before


@pytest.mark.parametrize("imported", ["import xlstm; load = xlstm.load", "from xlstm.estimators.state import load"])
def test_loading_is_the_first_thing_that_a_process_may_do(imported):
    """Nothing has named the classifier yet: it is found by its name in the file."""
    program = f"{imported}; print(type(load({str(FILES / 'text.xlstm')!r}, 'cpu')).__name__)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.strip() == "SequenceClassifier", done.stderr


# ---------------------------------------------------------------- version 2

V2 = FILES.parent / "v2"
SECOND: dict[str, dict[str, Any]] = json.loads((V2 / "expected.json").read_text(encoding="utf-8"))


def hexed(values: Any) -> np.ndarray[Any, Any]:
    return np.array([[float.fromhex(value) for value in row] for row in values])


def test_all_files_of_version_2_are_looked_at():
    names = {f"{name}.xlstm" for name in SECOND["estimators"]} | {f"{name}.layer.xlstm" for name in SECOND["layers"]}
    assert {file.name for file in V2.glob("*.xlstm")} == names
    assert len(names) == 6


@pytest.mark.parametrize("name", SECOND["estimators"])
def test_a_classifier_of_version_2(name, path):
    expected = SECOND["estimators"][name]
    clf = xlstm.load(V2 / f"{name}.xlstm", "cpu")
    fitted = clf.fitted_state()
    assert digest([fitted.model.read()]) == expected["parameters"]
    assert clf.classes_.tolist() == expected["classes"]
    assert {setting: clf.get_params()[setting] for setting in expected["settings"]} == expected["settings"]
    assert (None if fitted.feature_names is None else fitted.feature_names.tolist()) == expected["feature_names"]
    assert (fitted.table is None) == (expected["table"] is None)
    if fitted.table is not None:  # what came later is as it was understood without being said
        later = list(type(fitted.table)._field_defaults.values())
        assert list(fitted.table) == (expected["table"] + later)[: len(fitted.table)]
        assert len(expected["table"]) + len(later) == len(fitted.table)
    sides = fitted.sides
    found = (
        None
        if sides is None
        else [digest([sides.trained]), digest([sides.aside]), len(sides.trained), len(sides.aside)]
    )
    assert found == expected["sides"]
    X = expected["X"]
    if expected["kind"] == "fields":
        X = [np.array([tuple(step) for step in x], [(field, float) for field in expected["feature_names"]]) for x in X]
    np.testing.assert_allclose(clf.predict_proba(X), hexed(expected["probabilities"]), rtol=1e-5)


@pytest.mark.parametrize("name", SECOND["layers"])
def test_a_layer_of_version_2(name, path):
    expected = SECOND["layers"][name]
    layer = xlstm.load(V2 / f"{name}.layer.xlstm", "cpu")
    assert (type(layer).__name__, layer.cell) == (expected["type"], expected["cell"])
    assert [layer.input_size, layer.hidden_size, layer.num_layers, layer.bidirectional] == expected["size"]
    assert (layer.dropout, layer.dtype) == (expected["dropout"], expected["dtype"])
    assert digest([layer.parameters.flat]) == expected["parameters"]
    state = json.dumps(layer._generator.bit_generator.state, sort_keys=True).encode()
    assert hashlib.sha256(state).hexdigest() == expected["generator"]
    outputs, _ = layer(np.arange(8.0).reshape(1, 4, 2) / 8)
    rounding = {"float32": 2e-6, "float64": 1e-13}[layer.dtype]
    np.testing.assert_allclose(outputs[0], hexed(expected["outputs"]), rtol=rounding, atol=rounding)


# ---------------------------------------------------------------- version 2: other answers than one class

ANSWERS = FILES.parent / "v2-answers"
OTHERS: dict[str, dict[str, Any]] = json.loads((ANSWERS / "expected.json").read_text(encoding="utf-8"))


def plain_of(value: Any) -> Any:
    """As JSON gives it back."""
    return json.loads(json.dumps(value))


def given_to(expected: dict[str, Any]) -> Any:
    """X as it was passed: what is null is missing."""
    if expected["encoder"]["kind"] != "series":
        return expected["X"]
    arrays = [np.array(x, dtype=np.float64) for x in expected["X"]]
    names = expected["feature_names"]
    return xlstm.Sequences(np.concatenate(arrays), [len(x) for x in arrays], names)


def check_other(model: Any, expected: dict[str, Any]) -> None:
    """All that the file holds, to the last bit."""
    fitted = model.fitted_state()
    assert type(model).__name__ == expected["type"]
    assert digest([fitted.model.read()]) == expected["parameters"]
    assert digest(fitted.trainer.optimizer.moments) == expected["moments"]
    assert plain_of({"kind": fitted.task.kind, **fitted.task.state()}) == expected["task"]
    spelling = {"normalize": None, "apart": True} if "vocabulary" in expected["encoder"] else {}  # of older files
    assert plain_of(fitted.encoder.state()) == {**expected["encoder"], **spelling}
    assert [float(loss).hex() for loss in model.loss_curve_] == expected["loss_curve"]
    assert (None if fitted.feature_names is None else fitted.feature_names.tolist()) == expected["feature_names"]
    assert {setting: plain_of(model.get_params()[setting]) for setting in expected["settings"]} == expected["settings"]
    if "thresholds" in expected:
        assert [float(value).hex() for value in model.thresholds_] == expected["thresholds"]


def test_all_files_of_other_answers_are_looked_at():
    assert {file.stem for file in ANSWERS.glob("*.xlstm")} == set(OTHERS)
    assert len(OTHERS) == 8


@pytest.mark.parametrize("name", OTHERS)
def test_a_file_of_other_answers(name, path, tmp_path):
    expected = OTHERS[name]
    model = xlstm.load(ANSWERS / f"{name}.xlstm", "cpu")
    check_other(model, expected)
    made = getattr(model, expected["method"])(given_to(expected))
    parts = made if isinstance(made, list) else [made]
    assert {str(part.dtype) for part in parts} == {expected["dtype"]}
    numbers = [float.fromhex(value) for value in expected["numbers"]]
    np.testing.assert_allclose(np.concatenate([part.reshape(-1) for part in parts]), numbers, rtol=1e-5)
    if "predicted" in expected:
        predicted = model.predict(given_to(expected))
        assert [list(row) if np.ndim(row) else row for row in predicted] == expected["predicted"]
    model.save(tmp_path / "again.xlstm")
    check_other(xlstm.load(tmp_path / "again.xlstm", "cpu"), expected)
