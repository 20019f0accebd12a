"""Estimators and layers as ONNX files: onnxruntime gives for ragged batches what they give, whole or in parts."""

import os
import re
import subprocess
import sys
import unicodedata
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import xlstm
from xlstm.cells import lstm, record
from xlstm.onnx import layout

from ..onnx_files import error, of_length, padded, random_estimator, run, session, streamed, truth
from ..peers import peer

onnx = peer("onnx")

ROUNDS = int(os.environ.get("XLSTM_RANDOM_ONNX", "16"))
PROBABILITIES, STATES = 1e-5, 5e-6


def compared(given: dict[str, Any], estimator: Any, X: Any, lengths: Any) -> dict[str, float]:
    """The relative error of each output; labels are to be equal."""
    found = {}
    for name, right in truth(estimator, X).items():
        got = given[name]
        if isinstance(right, list):
            got = np.concatenate([row[:length] for row, length in zip(got, lengths, strict=True)])
            right = np.concatenate(right)
        if name == "label":
            assert np.asarray(got).tolist() == np.asarray(right).tolist()
        elif name == "prediction":  # beside how far they are from their mean, not from zero
            found[name] = error(got - 1e3, right - 1e3)
        else:
            found[name] = error(got, right)
    return found


def test_random_estimators_answer_in_onnxruntime_as_they_do_here(tmp_path: Path) -> None:
    worst: dict[str, float] = defaultdict(float)
    for seed in range(ROUNDS):
        estimator, X = random_estimator(seed)
        xlstm.to_onnx(estimator, tmp_path / "model.onnx")
        feed = padded(estimator, X)
        for name, far in compared(run(tmp_path / "model.onnx", feed), estimator, X, feed["lengths"]).items():
            worst[name] = max(worst[name], far)
            assert far <= PROBABILITIES, (seed, name, far, estimator)
    print("worst relative errors of", ROUNDS, "random estimators:", dict(worst))
    assert {"probabilities", "prediction", "features"} <= worst.keys()


def test_random_estimators_stream_in_onnxruntime(tmp_path: Path) -> None:
    """In parts of one step or more, the last of them shorter: the answer is that of the whole sequence."""
    worst: dict[str, float] = defaultdict(float)
    kinds = ("classes", "binary", "several", "numbers", "features")
    for seed in range(ROUNDS):
        estimator, X = random_estimator(1000 + seed, bidirectional=False, kind=kinds[seed % len(kinds)])
        X = of_length(estimator, X, 13)
        xlstm.to_onnx(estimator, tmp_path / "model.onnx", stream=True)
        given = streamed(tmp_path / "model.onnx", padded(estimator, X), 1 + seed % 13)
        for name, far in compared(given, estimator, X, [13] * len(X)).items():
            worst[name] = max(worst[name], far)
            assert far <= PROBABILITIES, (seed, name, far, estimator)
    print("worst relative errors of", ROUNDS, "random estimators that stream:", dict(worst))


def test_a_labeler_streams(tmp_path: Path) -> None:
    estimator, X = random_estimator(5, kind="steps", data="letters", bidirectional=False)
    X = of_length(estimator, X, 6)
    xlstm.to_onnx(estimator, tmp_path / "model.onnx", stream=True)
    given = streamed(tmp_path / "model.onnx", padded(estimator, X), 4)
    right = estimator.predict_proba(X)
    assert error(given["probabilities"], [row[4:] for row in right]) <= PROBABILITIES


@pytest.mark.parametrize("stream", [False, True])
def test_random_layers(tmp_path: Path, stream: bool) -> None:
    rng, worst = np.random.default_rng(3), 0.0
    kinds: list[Any] = [xlstm.LSTM, xlstm.RNN, xlstm.GRU, lambda *a, **k: xlstm.GRU(*a, reset_after=False, **k)]
    for seed in range(ROUNDS):
        D, H, L, S = (int(each) for each in rng.integers(1, [6, 24, 4, 3]))
        layer = kinds[seed % 4](
            D, H, L, S == 2 and not stream, seed=seed, dtype=str(rng.choice(["float32", "float64"]))
        )
        for name in layer.parameters:
            layer.parameters[name] = rng.normal(0, 0.7 / H**0.5, layer.parameters[name].shape)
        lengths = np.full(5, 11) if stream else rng.integers(1, 12, 5)
        x = rng.standard_normal((5, 11, D)).astype(layer.dtype)
        xlstm.to_onnx(layer, tmp_path / "layer.onnx", stream=stream)
        outputs, state = layer(x, lengths=lengths)
        states = dict(zip("hc", state if isinstance(state, tuple) else (state,), strict=False))
        if stream:
            given = {name[0]: value for name, value in streamed_layer(tmp_path / "layer.onnx", x).items()}
            right = {**{"o": outputs[:, 8:]}, **states}
        else:
            given = run(tmp_path / "layer.onnx", {"x": x, "lengths": lengths})
            right = {"outputs": outputs, **states}
        for name, value in right.items():
            worst = max(worst, error(given[name], value))
    print("worst relative error of", ROUNDS, "random layers:", worst)
    assert worst <= STATES


def streamed_layer(path: Path, x: Any) -> dict[str, Any]:
    """The outputs of the last of some parts of four steps, and the states."""
    loaded, N = session(path), len(x)
    state = {i.name: np.zeros((i.shape[0], N, i.shape[2]), np.float32) for i in loaded.get_inputs() if i.name != "x"}
    given: dict[str, Any] = {}
    for start in range(0, x.shape[1], 4):
        made = loaded.run(None, {"x": x[:, start : start + 4], **state})
        given = dict(zip([out.name for out in loaded.get_outputs()], made, strict=True))
        state = {name: given[f"{name}_out"] for name in state}
    return given


def test_the_versions_are_low_and_the_checker_has_nothing_to_say(tmp_path: Path) -> None:
    for seed, data in enumerate(["gaps", "letters"]):
        estimator, _ = random_estimator(seed, data=data)
        xlstm.to_onnx(estimator, tmp_path / "model.onnx")
        model = onnx.load(tmp_path / "model.onnx")
        onnx.checker.check_model(model, full_check=True)
        wanted = {"": 13} if data == "gaps" else {"": 13, "ai.onnx.ml": 2}
        assert {entry.domain: entry.version for entry in model.opset_import} == wanted
        assert model.ir_version == 7
        assert model.producer_name == "xp-lstm"


@pytest.mark.parametrize("stream", [False, True])
def test_nothing_stands_in_a_file_that_is_not_read(tmp_path: Path, stream: bool) -> None:
    for seed, readout in enumerate(["final", "mean", "max", "attention"]):
        estimator, _ = random_estimator(seed, kind="classes", readout=readout, bidirectional=False)
        xlstm.to_onnx(estimator, tmp_path / "model.onnx", stream=stream)
        graph = onnx.load(tmp_path / "model.onnx").graph
        read = {name for node in graph.node for name in node.input}
        assert {constant.name for constant in graph.initializer} <= read


def test_names_of_inputs_and_outputs_are_those_that_are_documented(tmp_path: Path) -> None:
    names = {
        "classes": {"label", "probabilities"},
        "steps": {"label", "probabilities"},
        "several": {"label", "probabilities"},
        "numbers": {"prediction"},
        "features": {"features"},
    }
    for kind, outputs in names.items():
        estimator, _ = random_estimator(1, kind=kind, data="series")
        xlstm.to_onnx(estimator, tmp_path / "model.onnx")
        loaded = session(tmp_path / "model.onnx")
        assert {each.name for each in loaded.get_inputs()} == {"x", "lengths"}
        assert {each.name for each in loaded.get_outputs()} == outputs


@pytest.mark.parametrize(
    "labels", [["ö", "b"], [3, -1], [True, False], [1.0, 2.0], np.array([7, 2], np.uint8)], ids=repr
)
def test_labels_come_as_they_are(tmp_path: Path, labels: Any) -> None:
    labels = np.array(labels)
    X = ["aab", "b", "bba", "ab", "a"]
    estimator = xlstm.SequenceClassifier(hidden_size=2, max_iter=1, random_state=0, device="cpu")
    estimator.fit(X, labels[[0, 1, 0, 1, 0]])
    xlstm.to_onnx(estimator, tmp_path / "model.onnx")
    given = run(tmp_path / "model.onnx", padded(estimator, X))["label"]
    assert given.tolist() == estimator.predict(X).tolist()


def test_every_character_that_folds_to_a_known_one_is_known(tmp_path: Path) -> None:
    letters = "ßſ\u212aé"  # sharp s, long s, the sign of kelvin
    estimator = xlstm.SequenceClassifier(hidden_size=4, max_iter=1, random_state=0, device="cpu")
    estimator.fit([letters, "skx", "é", "x"], [0, 1, 0, 1])
    xlstm.to_onnx(estimator, tmp_path / "model.onnx")
    X = ["ẞSsKkÉXqß", "ſ\u212a", "x"]
    assert error(run(tmp_path / "model.onnx", padded(estimator, X))["probabilities"], estimator.predict_proba(X)) < 1e-6


def test_texts_are_passed_as_the_page_says(tmp_path: Path) -> None:
    """Whole texts in the form of the model; and any single character that is one there as it is."""
    texts = ["Straße", "CAFE\u0301", "ﬁn", "ὈΔΥΣΣΕΎΣ"]
    estimator = xlstm.SequenceClassifier(hidden_size=3, max_iter=1, random_state=0, device="cpu").fit(
        texts, [0, 1, 0, 1]
    )
    xlstm.to_onnx(estimator, tmp_path / "model.onnx")

    def given(text: str) -> Any:
        feed = {"tokens": np.array([list(text)], object), "lengths": np.array([len(text)])}
        return run(tmp_path / "model.onnx", feed)["probabilities"]

    for text in (*texts, "STRASSE", "café", "ὀδυσσεύς"):
        spelled = unicodedata.normalize("NFC", unicodedata.normalize("NFD", text).casefold())
        assert error(given(spelled), estimator.predict_proba([text])) < 1e-6
    assert error(given("CAFÉ"), estimator.predict_proba(["cafe\u0301"])) < 1e-6
    assert "casefold" in onnx.load(tmp_path / "model.onnx").graph.input[0].doc_string


def test_a_large_vocabulary_is_looked_up(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    X = [rng.integers(0, 400, 9) for _ in range(30)]
    for bidirectional in (False, True):
        how = {"hidden_size": 3, "encoding": "tokens", "bidirectional": bidirectional, "max_iter": 1, "device": "cpu"}
        estimator = xlstm.SequenceClassifier(**how, random_state=0).fit(X, np.arange(30) % 3)
        xlstm.to_onnx(estimator, tmp_path / "model.onnx")
        assert "OneHot" not in {node.op_type for node in onnx.load(tmp_path / "model.onnx").graph.node}
        later = [rng.integers(0, 500, 4) for _ in range(5)]
        given = run(tmp_path / "model.onnx", padded(estimator, later))
        assert error(given["probabilities"], estimator.predict_proba(later)) < 1e-6
        assert (
            error(xlstm.from_onnx(tmp_path / "model.onnx").predict_proba(later), estimator.predict_proba(later)) < 1e-6
        )


def test_features_far_from_zero_keep_their_digits_in_float64(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    X = [1e9 + rng.standard_normal((7, 2)) for _ in range(20)]
    estimator = xlstm.SequenceClassifier(hidden_size=3, dtype="float64", max_iter=1, random_state=0, device="cpu")
    estimator.fit(X, np.arange(20) % 3)
    xlstm.to_onnx(estimator, tmp_path / "model.onnx")
    feed = padded(estimator, X)
    assert error(run(tmp_path / "model.onnx", feed)["probabilities"], estimator.predict_proba(X)) < PROBABILITIES


# ---------------------------------------------------------------- what cannot be written


def fitted(**settings: Any) -> xlstm.SequenceClassifier:
    how = {"hidden_size": 2, "max_iter": 1, "random_state": 0, "device": "cpu"} | settings
    return xlstm.SequenceClassifier(**how).fit(["ab", "b", "ba", "a"], ["x", "y", "x", "y"])


def with_nan(name: str) -> Any:
    estimator = fitted()
    estimator.fitted_state().model.parameters[name][...] = np.nan
    return estimator


def with_a_layer(number: float) -> Any:
    layer = xlstm.GRU(2, 3, dtype="float64")
    layer.parameters["weight_hh_l0"] = np.full((9, 3), number)
    return layer


BAD_MODELS: dict[str, tuple[Any, bool, str]] = {
    "a name": (lambda: "model", False, "to_onnx writes a fitted estimator or a layer, got str"),
    "nothing": (lambda: None, False, "got NoneType"),
    "a class": (lambda: xlstm.LSTM, False, "got type"),
    "not fitted": (xlstm.SequenceClassifier, False, "not fitted yet"),
    "two directions": (lambda: fitted(bidirectional=True), True, "a bidirectional model cannot stream"),
    "a layer of two directions": (
        lambda: xlstm.GRU(2, 3, bidirectional=True),
        True,
        "a bidirectional model cannot stream",
    ),
    "NaN in the head": (lambda: with_nan("head.weight"), False, "the parameter head.weight holds NaN"),
    "NaN in a cell": (lambda: with_nan("recurrent.bias_l0"), False, "the parameter recurrent.bias_l0 holds NaN"),
    "infinity": (lambda: with_a_layer(np.inf), False, "the parameter weight_hh_l0 holds NaN, infinity"),
    "too large": (lambda: with_a_layer(1e300), False, "too large for float32"),
}


@pytest.mark.parametrize("name", BAD_MODELS)
def test_what_cannot_be_written_is_told_and_nothing_is(tmp_path: Path, name: str) -> None:
    make, stream, words = BAD_MODELS[name]
    path = tmp_path / "model.onnx"
    path.write_bytes(b"old")
    with pytest.raises((ValueError, TypeError), match=re.escape(words)):
        xlstm.to_onnx(make(), path, stream=stream)
    assert path.read_bytes() == b"old"
    assert [each.name for each in tmp_path.iterdir()] == ["model.onnx"]


def test_a_cell_that_onnx_lacks_is_refused_by_name(tmp_path: Path) -> None:
    own = record.Cell(
        "trial_of_onnx", gates=("i", "f", "g", "o"), states=("h", "c"), step=lstm.step, step_backward=lstm.step_backward
    )
    record.register(own)
    try:
        with pytest.raises(ValueError, match="no operator of the cell 'trial_of_onnx'"):
            xlstm.to_onnx(fitted(cell="trial_of_onnx"), tmp_path / "model.onnx")
    finally:
        del record.CELLS["trial_of_onnx"]


def test_a_place_where_nothing_can_be_written(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="the folder of the file does not exist"):
        xlstm.to_onnx(fitted(), tmp_path / "none" / "model.onnx")
    with pytest.raises(IsADirectoryError, match="this is a folder"):
        xlstm.to_onnx(fitted(), tmp_path)


def test_labels_that_no_file_can_hold(tmp_path: Path) -> None:
    estimator = xlstm.SequenceClassifier(hidden_size=2, max_iter=1, device="cpu")
    estimator.fit(["ab", "b"], np.array([2**63 + 5, 1], np.uint64))
    with pytest.raises(ValueError, match="does not fit the int64"):
        xlstm.to_onnx(estimator, tmp_path / "model.onnx")


# ---------------------------------------------------------------- the package


def test_onnx_is_not_imported_unasked() -> None:
    code = "import sys, xlstm; xlstm.LSTM(2, 3); xlstm.to_onnx; xlstm.from_onnx; print('onnx' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "False\n"


@pytest.mark.parametrize("what", ["to_onnx", "from_onnx"])
def test_where_onnx_is_missing_it_is_said_what_to_install(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "model.onnx").write_bytes(b"old")
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ImportError, match=re.escape("pip install 'xp-lstm[onnx]'")):
        xlstm.to_onnx(fitted(), tmp_path / "model.onnx") if what == "to_onnx" else xlstm.from_onnx(
            tmp_path / "model.onnx"
        )
    assert (tmp_path / "model.onnx").read_bytes() == b"old"


def test_the_order_of_gates_goes_there_and_back() -> None:
    for cell in layout.OPERATORS:
        there, back = layout.rows(cell, 3), layout.rows(cell, 3, back=True)
        assert there[back].tolist() == list(range(len(there)))
