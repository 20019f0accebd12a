"""onnxruntime's LSTM with weights of 8 bits, for narrow.py: a model of one DynamicQuantizeLSTM node."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .case import Case, Host
from .onnx_side import bind, onnx_session

Call = Callable[[], Host]


def quantized_session(case: Case, threads: int) -> Any:
    """X, initial_h and initial_c to Y, Y_h and Y_c; a scale for each unit of each gate, zero points of 0."""
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    N, T, D, H = case.size

    def reordered(weights: Host) -> Host:  # gates i, f, g, o to ONNX's i, o, f, c
        return weights.reshape(4, H, -1)[[0, 3, 1, 2]].reshape(4 * H, -1)

    values = {"B": np.concatenate([reordered(case.weights["bias"])[:, 0], np.zeros(4 * H, np.float32)])[None]}
    for name, weights in (("W", case.weights["weight_ih"]), ("R", case.weights["weight_hh"])):
        rows = reordered(weights)
        scale = abs(rows).max(axis=1) / 127
        values[name] = np.rint(rows / scale[:, None]).astype(np.int8).T[None]
        values[f"{name}_scale"] = scale[None].astype(np.float32)
        values[f"{name}_zero_point"] = np.zeros((1, 4 * H), np.int8)
    quantization = ["W_scale", "W_zero_point", "R_scale", "R_zero_point"]
    inputs = ["X", "W", "R", "B", "", "initial_h", "initial_c", "", *quantization]

    def info(name: str, *shape: int) -> Any:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)

    node = helper.make_node("DynamicQuantizeLSTM", inputs, ["Y", "Y_h", "Y_c"], domain="com.microsoft", hidden_size=H)
    graph = helper.make_graph(
        [node],
        "lstm",
        [info("X", T, N, D), info("initial_h", 1, N, H), info("initial_c", 1, N, H)],
        [info("Y", T, 1, N, H), info("Y_h", 1, N, H), info("Y_c", 1, N, H)],
        [numpy_helper.from_array(np.ascontiguousarray(value), name) for name, value in values.items()],
    )
    versions = [helper.make_opsetid("", 14), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=versions, ir_version=8)
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads, settings.inter_op_num_threads = threads, 1
    return onnxruntime.InferenceSession(model.SerializeToString(), settings, providers=["CPUExecutionProvider"])


def calls(case: Case, threads: int) -> dict[str, Call]:
    """By name, inference from a state of zeros: each way of running it, on all threads and on one."""
    N, T, _, H = case.size
    x, zeros = np.ascontiguousarray(case.x.swapaxes(0, 1)), np.zeros((1, N, H), np.float32)
    made: dict[str, Call] = {}
    for count in dict.fromkeys((threads, 1)):
        for kind in ("float32", "int8"):
            if kind == "int8":
                session, given = quantized_session(case, count), {"X": x, "initial_h": zeros, "initial_c": zeros}
            else:
                session, given = onnx_session(case, count, with_state=False), {"X": x}
            ending = f", {count} thread{'s' * (count > 1)}"
            made[f"onnxruntime {kind}, run{ending}"] = running(session, given)
            made[f"onnxruntime {kind}, bound{ending}"] = bound(session, given, (T, 1, N, H))
    return made


def running(session: Any, given: dict[str, Host]) -> Call:
    def call() -> Host:
        return session.run(None, given)[0][:, 0].swapaxes(0, 1)

    return call


def bound(session: Any, given: dict[str, Host], shape: tuple[int, ...]) -> Call:
    outputs = {"Y": np.empty(shape, np.float32), "Y_h": np.empty((1, *shape[2:]), np.float32)}
    outputs["Y_c"] = np.empty_like(outputs["Y_h"])
    binding = bind(session, given, outputs)

    def call() -> Host:
        session.run_with_iobinding(binding)
        return outputs["Y"][:, 0].swapaxes(0, 1)

    call.held = (given, outputs, binding)  # type: ignore[attr-defined]
    return call
