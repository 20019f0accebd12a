"""What the tests of ONNX files share: random fitted estimators, and a file at work in onnxruntime."""

import warnings
from typing import Any

import numpy as np

import xlstm
from xlstm.batch import Encoded
from xlstm.readout import READOUTS

from .peers import peer

CELLS = ("lstm", "gru", "gru_reset_before", "rnn")
READS = tuple(name for name, readout in READOUTS.items() if not readout.each_step)
WORDS = ("Straße", "gut", "nicht", "Katze", "ὈΔΥΣΣΕΎΣ", "so", "la", "x", "Y", "z")


def session(path: Any) -> Any:
    runtime = peer("onnxruntime")
    runtime.set_default_logger_severity(4)  # what it cannot run is an exception already
    return runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def padded(estimator: Any, X: Any) -> dict[str, Any]:
    """X as the file of an estimator reads it: what fills up short rows is nothing that could be right."""
    fitted = estimator.fitted_state()
    encoder = fitted.encoder
    if encoder.kind == "characters" and not encoder.apart:
        X = list(map(encoder.spelling.of, X))
    lengths = np.array([len(row) for row in X], np.int64)
    N, T = len(X), int(lengths.max())
    if encoder.kind == "series":
        x = np.full((N, T, encoder.size), np.nan, fitted.model.architecture.dtype)
    elif encoder.kind == "integers":
        x = np.full((N, T), encoder.vocabulary[0], np.int64)
    else:
        x = np.full((N, T), encoder.vocabulary[0], object)
    for k, row in enumerate(X):
        row = np.asarray(list(row) if isinstance(row, str) else row)
        if encoder.kind == "words":
            row = np.array(list(map(encoder.spelling.of, row)), object)
        x[k, : len(row)] = row
    return {"x" if encoder.kind == "series" else "tokens": x, "lengths": lengths}


def run(path: Any, feed: dict[str, Any]) -> dict[str, Any]:
    """What the file gives, by the names of its outputs."""
    loaded = session(path)
    return dict(zip([out.name for out in loaded.get_outputs()], loaded.run(None, feed), strict=True))


def streamed(path: Any, feed: dict[str, Any], cut: int) -> dict[str, Any]:
    """What it gives after the last part, rows of one length being fed in parts of `cut` steps."""
    loaded = session(path)
    numbers = {"tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(int64)": np.int64}
    (name, data), N = next(iter(feed.items())), len(feed["lengths"])
    state = {
        each.name: np.zeros([N if axis == "batch" else axis for axis in each.shape], numbers[each.type])
        for each in loaded.get_inputs()
        if each.name != name
    }
    given: dict[str, Any] = {}
    for start in range(0, data.shape[1], cut):
        given = dict(
            zip(
                [out.name for out in loaded.get_outputs()],
                loaded.run(None, {name: data[:, start : start + cut], **state}),
                strict=True,
            )
        )
        state = {name: given[f"{name}_out"] for name in state}
    return given


def random_estimator(seed: int, **fixed: Any) -> tuple[Any, Any]:
    """A fitted estimator with random parameters, and ragged sequences that it has not seen."""
    rng = np.random.default_rng(seed)
    kind = fixed.pop("kind", None) or str(rng.choice(["classes", "binary", "several", "numbers", "steps", "features"]))
    data = fixed.pop("data", None) or str(rng.choice(["series", "gaps", "letters", "words", "integers", "embedded"]))
    settings: dict[str, Any] = {
        "cell": str(rng.choice(CELLS)), "hidden_size": int(rng.integers(1, 20)), "num_layers": int(rng.integers(1, 4)),
        "bidirectional": bool(rng.integers(2)), "fold_case": bool(rng.integers(2)),
        "standardize": bool(rng.integers(2)), "dtype": str(rng.choice(["float32", "float64"])),
        "missing": "mask" if data == "gaps" else "error", "encoding": "tokens" if data == "integers" else "auto",
        "embedding_size": int(rng.integers(1, 9)) if data == "embedded" else None, "device": "cpu",
        "max_iter": 1, "random_state": seed,
    }  # fmt: skip
    if kind != "steps":
        settings["readout"] = str(rng.choice(READS))
    settings |= fixed
    X, later = (_sequences(data, n, rng) for n in (12, 9))
    y: Any = rng.permutation(np.arange(12) % 2 if kind == "binary" else np.arange(12) % 4)
    if kind in ("classes", "features") and rng.integers(2):
        y = np.array(["ö", "a", "bb", "c"])[y]
    if kind == "numbers":
        columns = int(rng.integers(0, 4))
        y = 1e3 + 5 * rng.standard_normal((12, columns) if columns else 12)
        if not columns and rng.integers(2):
            settings |= {"loss": "quantile", "quantile": [0.1, 0.5, 0.9]}
    if kind == "several":
        y = rng.integers(0, 2, (12, 3))
        y[:2] = [[0, 0, 0], [1, 1, 1]]
    if kind == "steps":
        y = [rng.permutation(np.arange(len(row)) % 3) for row in X]
        y[0] = np.arange(len(X[0])) % 3
    made = {"numbers": xlstm.SequenceRegressor, "steps": xlstm.SequenceLabeler, "features": xlstm.SequenceFeatures}
    estimator: Any = made.get(kind, xlstm.SequenceClassifier)(**settings)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # there is nothing to be learned, and the library doubts it
        estimator.fit(X, y)
    fitted = estimator.fitted_state()
    values = fitted.model.read()
    fitted.model.write((rng.uniform(-1, 1, values.shape) * 1.5 / settings["hidden_size"] ** 0.5).astype(values.dtype))
    fitted.model.silence_unknown(fitted.model.parameters)
    if kind == "several":
        estimator.set_thresholds(rng.uniform(0.2, 0.8, 3))
    return estimator, later


def _sequences(data: str, n: int, rng: np.random.Generator) -> Any:
    lengths = rng.integers(1, 30, n)
    lengths[0] = 3
    if data in ("series", "gaps"):
        X = [(7 + 3 * rng.standard_normal((T, 3))).astype(np.float32) for T in lengths]
        if data == "gaps":
            for x in X:
                x[rng.random(x.shape) < 0.2] = np.nan
        return X
    if data in ("integers",):
        return [rng.integers(-3, 9, T) for T in lengths]
    if data == "words":
        return [list(rng.choice(WORDS, T)) for T in lengths]
    return ["".join(rng.choice(list("abcABCßéŞ"), T)) for T in lengths]


def truth(estimator: Any, X: Any) -> dict[str, Any]:
    """What its file has to give, by the names of its outputs: what the estimator gives."""
    fitted = estimator.fitted_state()
    if isinstance(estimator, xlstm.SequenceFeatures):
        return {"features": estimator.transform(X)}
    outputs = fitted.outputs(X, estimator.reading())
    if isinstance(outputs, Encoded):
        return {"label": estimator.predict(X), "probabilities": estimator.predict_proba(X)}
    if fitted.task.kind == "numbers":
        return {"prediction": estimator.predict(X)}
    return {"label": estimator.predict(X), "probabilities": estimator.predict_proba(X)}


def error(got: Any, right: Any) -> float:
    """Relative, by the Frobenius norm; NaN is infinite."""
    got, right = np.asarray(got, np.float64), np.asarray(right, np.float64)
    assert got.shape == right.shape
    made = float(np.linalg.norm(got - right) / max(float(np.linalg.norm(right)), 1e-30))
    return made if np.isfinite(made) else np.inf


def of_length(estimator: Any, X: Any, T: int) -> Any:
    """Rows of one length as the estimator reads them, where ß may be ss: each as often after itself as is needed."""
    encoder = estimator.fitted_state().encoder
    if encoder.kind == "characters" and not encoder.apart:
        X = list(map(encoder.spelling.of, X))
    return [(row * T)[:T] if isinstance(row, (str, list)) else np.concatenate([row] * T)[:T] for row in X]
