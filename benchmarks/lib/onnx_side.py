"""onnxruntime's side of peers.py: a model of one LSTM node, run in each way that it offers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .case import Case, Host, Results, Step
from .harness import of_all, take_turns


class OnnxRuntime:
    """A model of one LSTM node. It reads and writes (T, N, ·), for it supports nothing else; the quicker of a plain
    run and one with bound inputs and outputs is taken. Its streams: `onnx_streams`."""

    def __init__(self, case: Case, threads: int) -> None:
        session = onnx_session(case, threads, with_state=False)
        x = np.ascontiguousarray(case.x.swapaxes(0, 1))
        N, T, _, H = case.size
        shapes = {"Y": (T, 1, N, H), "Y_h": (1, N, H), "Y_c": (1, N, H)}
        bound = {name: np.empty(shape, np.float32) for name, shape in shapes.items()}
        binding = bind(session, {"X": x}, bound)

        def by_binding() -> Any:
            session.run_with_iobinding(binding)
            return list(bound.values())

        ways = {"run": lambda: session.run(None, {"X": x}), "binding": by_binding}
        times = take_turns(ways, 0.02, 3)
        self.way = min(ways, key=lambda way: of_all(times[way])["median"])
        self.infer = ways[self.way]

    def inferred(self, value: Any) -> Results:
        outputs, h, c = value
        return {"outputs": outputs[:, 0].swapaxes(0, 1), "h": h[0], "c": c[0]}


def onnx_session(case: Case, threads: int, with_state: bool) -> Any:
    """An onnxruntime session: X, and with a state initial_h and initial_c, to Y, Y_h and Y_c."""
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    N, T, D, H = case.size
    T = 1 if with_state else T

    def reordered(weights: Host) -> Host:  # gates i, f, g, o to ONNX's i, o, f, c
        return weights.reshape(4, H, -1)[[0, 3, 1, 2]].reshape(1, 4 * H, -1)

    bias = np.concatenate([reordered(case.weights["bias"])[:, :, 0], np.zeros((1, 4 * H), np.float32)], axis=1)
    values = {"W": reordered(case.weights["weight_ih"]), "R": reordered(case.weights["weight_hh"]), "B": bias}

    def info(name: str, *shape: int) -> Any:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)

    states = ["initial_h", "initial_c"] if with_state else []
    graph = helper.make_graph(
        [helper.make_node("LSTM", ["X", "W", "R", "B", "", *states], ["Y", "Y_h", "Y_c"], hidden_size=H)],
        "lstm",
        [info("X", T, N, D), *(info(name, 1, N, H) for name in states)],
        [info("Y", T, 1, N, H), info("Y_h", 1, N, H), info("Y_c", 1, N, H)],
        [numpy_helper.from_array(np.ascontiguousarray(value), name) for name, value in values.items()],
    )
    # The lowest versions that have all of this: any onnxruntime reads them, whatever onnx writes by default.
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads, settings.inter_op_num_threads = threads, 1
    return onnxruntime.InferenceSession(model.SerializeToString(), settings, providers=["CPUExecutionProvider"])


def bind(session: Any, inputs: Mapping[str, Host], outputs: Mapping[str, Host]) -> Any:
    """The arrays' own memory, nothing is copied: whoever holds the binding has to hold them."""
    from onnxruntime import OrtValue

    binding = session.io_binding()
    for name, value in inputs.items():
        binding.bind_ortvalue_input(name, OrtValue.ortvalue_from_numpy(value))
    for name, value in outputs.items():
        binding.bind_ortvalue_output(name, OrtValue.ortvalue_from_numpy(value))
    return binding


def onnx_streams(case: Case, steps: list[Host], threads: int) -> dict[str, Step]:
    """Each way of doing it, on all threads and, where it may be faster, on one: the fastest counts."""
    made = {}
    for count in dict.fromkeys((threads, 1)):
        for way, stream in {"run": onnx_stream, "binding": onnx_bound_stream}.items():
            session = onnx_session(case, count, with_state=True)
            made[f"onnxruntime {way}, {count} thread{'s' * (count > 1)}"] = stream(session, steps, case.size[3])
    return made


def onnx_stream(session: Any, steps: list[Host], H: int) -> Step:
    h = c = np.zeros((1, 1, H), np.float32)

    def step(t: int = 0) -> Any:
        nonlocal h, c
        h, c = session.run(["Y_h", "Y_c"], {"X": steps[t], "initial_h": h, "initial_c": c})
        return h

    return step


def onnx_bound_stream(session: Any, steps: list[Host], H: int) -> Step:
    """Two bindings that take turns: what the one writes, the other reads. Writing x is not timed."""
    x, turn = steps[0].copy(), 0
    states = [[np.zeros((1, 1, H), np.float32) for _ in "hc"] for _ in range(2)]
    bindings = [
        bind(session, {"X": x, "initial_h": h, "initial_c": c}, dict(zip(("Y_h", "Y_c"), other, strict=True)))
        for (h, c), other in zip(states, reversed(states), strict=True)
    ]

    def step(t: int | None = None) -> Any:
        nonlocal turn
        if t is not None:
            x[...] = steps[t]
        session.run_with_iobinding(bindings[turn])
        turn = 1 - turn
        return states[turn][0]

    return step
