"""onnxruntime's side of peers.py: a model of one node, an LSTM, GRU or RNN, run in each way that it offers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .case import Case, Host, Results, Step
from .harness import of_all, take_turns

STATES = {"lstm": "hc", "gru": "h", "rnn": "h"}
ORDERS = {"lstm": [0, 3, 1, 2], "gru": [1, 0, 2], "rnn": [0]}
"""Of our gates in ONNX's order: i, o, f, c of our i, f, g, o; its z, r, h of our r, u, n."""


class OnnxRuntime:
    """A model of one node. It reads and writes (T, N, ·), for it supports nothing else; the quicker of a plain
    run and one with bound inputs and outputs is taken. Its streams: `onnx_streams`."""

    def __init__(self, case: Case, threads: int) -> None:
        session = onnx_session(case, threads, with_state=False)
        x = np.ascontiguousarray(case.x.swapaxes(0, 1))
        N, T, _, H = case.size
        shapes = {"Y": (T, 1, N, H), **{f"Y_{name}": (1, N, H) for name in STATES[case.cell]}}
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
        outputs, *state = value
        return {"outputs": outputs[:, 0].swapaxes(0, 1), **{n: of[0] for n, of in zip("hc", state, strict=False)}}


def onnx_session(case: Case, threads: int, with_state: bool) -> Any:
    """An onnxruntime session: X, and with a state initial_h (and initial_c), to Y, Y_h (and Y_c)."""
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    N, T, D, H = case.size
    T = 1 if with_state else T
    order, states = ORDERS[case.cell], STATES[case.cell]
    rows = len(order) * H

    def reordered(weights: Host) -> Host:
        return weights.reshape(len(order), H, -1)[order].reshape(1, rows, -1)

    second = np.zeros((1, rows), np.float32)
    if "bias_hn" in case.weights:
        second[0, -H:] = case.weights["bias_hn"]
    bias = np.concatenate([reordered(case.weights["bias"])[:, :, 0], second], axis=1)
    values = {"W": reordered(case.weights["weight_ih"]), "R": reordered(case.weights["weight_hh"]), "B": bias}
    # PyTorch's form of a GRU: the reset gate acts after the product.
    attributes = {"hidden_size": H, **({"linear_before_reset": 1} if case.cell == "gru" else {})}

    def info(name: str, *shape: int) -> Any:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)

    initial = [f"initial_{name}" for name in states] if with_state else []
    finals = [f"Y_{name}" for name in states]
    graph = helper.make_graph(
        [helper.make_node(case.cell.upper(), ["X", "W", "R", "B", "", *initial], ["Y", *finals], **attributes)],
        case.cell,
        [info("X", T, N, D), *(info(name, 1, N, H) for name in initial)],
        [info("Y", T, 1, N, H), *(info(name, 1, N, H) for name in finals)],
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
            name = f"onnxruntime {way}, {count} thread{'s' * (count > 1)}"
            made[name] = stream(session, steps, case.size[3], STATES[case.cell])
    return made


def onnx_stream(session: Any, steps: list[Host], H: int, names: str) -> Step:
    finals, initial = [f"Y_{name}" for name in names], [f"initial_{name}" for name in names]
    state = [np.zeros((1, 1, H), np.float32)] * len(names)

    def step(t: int = 0) -> Any:
        nonlocal state
        state = session.run(finals, {"X": steps[t], **dict(zip(initial, state, strict=True))})
        return state[0]

    return step


def onnx_bound_stream(session: Any, steps: list[Host], H: int, names: str) -> Step:
    """Two bindings that take turns: what the one writes, the other reads. Writing x is not timed."""
    x, turn = steps[0].copy(), 0
    states = [{name: np.zeros((1, 1, H), np.float32) for name in names} for _ in range(2)]
    bindings = [
        bind(
            session,
            {"X": x, **{f"initial_{name}": values for name, values in read.items()}},
            {f"Y_{name}": values for name, values in written.items()},
        )
        for read, written in zip(states, reversed(states), strict=True)
    ]

    def step(t: int | None = None) -> Any:
        nonlocal turn
        if t is not None:
            x[...] = steps[t]
        session.run_with_iobinding(bindings[turn])
        turn = 1 - turn
        return states[turn]["h"]

    return step
