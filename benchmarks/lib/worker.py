"""One of the two processes of against.py: it runs cases of this library in its own interpreter, when it is told to.

It uses nothing of xlstm but what its users see, so that it runs with the xlstm of an older checkout too. A line of JSON
comes in, a line of JSON goes out:

    {"prepare": CASE, "results": FILE}      makes a case and its call, writes what the call gives to an .npz file; gives
                                            the error where this xlstm cannot do it
    {"block": SECONDS}                      a block of calls (harness.py); gives the median
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import sys
from typing import Any

import harness  # beside this file, whose folder is the first on the path
import numpy as np

import xlstm


def of(case: dict[str, Any]) -> tuple[Any, Any]:
    """A function to be timed, and one that makes of what it returns arrays by name: gradients begin with `d`."""
    return fit(case) if case["kind"] == "fit" else LAYERS[case["kind"]](case, *given(case))


def given(case: dict[str, Any]) -> tuple[Any, Any, Any, Any]:
    """The layer with weights that do not depend on how it draws them, its input, a gradient and the lengths."""
    N, T, D, H = case["size"]
    layer = getattr(xlstm, case["cell"])(D, H, device="cpu", **case["options"])
    rng = np.random.default_rng(0)
    for name in sorted(layer.parameters):
        shape = layer.parameters[name].shape
        layer.parameters[name] = rng.uniform(-(H**-0.5), H**-0.5, shape).astype(np.float32)
    x = rng.standard_normal((N, T, D), dtype=np.float32)
    directions = layer.num_layers * layer.directions
    d_h = rng.standard_normal((directions, N, H), dtype=np.float32)
    lengths = rng.integers(T // 10, T + 1, N).tolist() if case["ragged"] else None
    return layer, x, d_h, lengths


def outputs_of(returned: Any) -> dict[str, Any]:
    return {"outputs": returned[0]}


def train(case: dict[str, Any], layer: Any, x: Any, d_h: Any, lengths: Any) -> Any:
    d_state = (d_h, None) if case["cell"] == "LSTM" else d_h

    def call() -> Any:
        returned = layer.forward(x, lengths=lengths)
        layer.backward(returned[2], d_state=d_state, input_gradient=False)
        return returned

    return call, lambda returned: {**outputs_of(returned), **{f"d_{name}": d for name, d in layer.gradients.items()}}


def infer(case: dict[str, Any], layer: Any, x: Any, d_h: Any, lengths: Any) -> Any:
    return lambda: layer(x, lengths=lengths), outputs_of


def prepared(case: dict[str, Any], layer: Any, x: Any, d_h: Any, lengths: Any) -> Any:
    call = layer.prepare()
    return lambda: call(x), outputs_of


def stream(case: dict[str, Any], layer: Any, x: Any, d_h: Any, lengths: Any) -> Any:
    """One step, the state passed on."""
    call, state, x = layer.prepare(), None, np.ascontiguousarray(x[:, :1])

    def step() -> Any:
        nonlocal state
        outputs, state = call(x, state)
        return outputs, state

    return step, outputs_of


LAYERS = {"train": train, "inference": infer, "prepared": prepared, "stream": stream}


def fit(case: dict[str, Any]) -> Any:
    """Some epochs of a classifier, from its data to its loss."""
    with open(case["data"], encoding="utf-8") as file:
        data = json.load(file)
    X = [x if isinstance(x, str) else np.array(x) for x in data["X"]]

    def call() -> Any:
        return xlstm.SequenceClassifier(**data["settings"], device="cpu", random_state=0).fit(X, data["y"])

    return call, lambda classifier: {"losses": np.array(classifier.loss_curve_)}


def main() -> None:
    told = {"xlstm": xlstm.__version__, "folder": os.path.dirname(xlstm.__file__), "numpy": np.__version__,
            "python": platform.python_version(), "kernels": xlstm.LSTM(1, 1, device="cpu").kernels}  # fmt: skip
    print(json.dumps(told), flush=True)
    call: Any = None
    for line in sys.stdin:
        asked = json.loads(line)
        if "prepare" in asked:
            error = None
            try:
                call, named = of(asked["prepare"])
                np.savez(asked["results"], **named(call()))
            except Exception as raised:  # an older checkout may lack what is asked for
                error = f"{type(raised).__name__}: {raised}"
            print(json.dumps(error), flush=True)
        else:
            print(json.dumps(statistics.median(harness.block(call, asked["block"]))), flush=True)


if __name__ == "__main__":
    main()
