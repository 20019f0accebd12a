"""The sides of peers.py: what they are given, how each makes its calls, and whether their results are right.

A side has `train` and `infer`, which are timed, and `trained` and `inferred`, which make of what these return arrays as
ours are: h, d_weight_ih, d_weight_hh, d_bias; and outputs, h, c. `stream(steps)` returns a function that takes the
number of a step (the first if there is none) and returns h; its state begins at zero, and is kept from call to call.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from typing import Any, NamedTuple

import numpy as np
from common import SHAPES
from xlstm.backends import cpu

import xlstm
from xlstm import convert
from xlstm.bench import interleaved

FEW_ROWS = {"one": (1, 100, 16, 64), "one wide": (1, 100, 64, 256), "eight": (8, 100, 16, 64)}
BATCHES = {f"batch {n}": (n, 100, 16, 64) for n in (2, 4, 16, 32, 64, 128)}  # 1 and 8 are "one" and "eight"
INFERENCE = {**SHAPES, **FEW_ROWS, **BATCHES}
STREAMS = {"H 64": (1, 50, 16, 64), "H 256": (1, 50, 64, 256)}
"""Fed one step at a time; T is how many steps are compared with float64."""
RAGGED = {"mid": (64, 100, 64, 256), "series": (32, 60, 12, 100)}

NEEDS = {"torch": ["torch"], "onnxruntime": ["onnxruntime", "onnx"], "jax": ["jax"], "thinc": ["thinc"]}
"""The peers, and the distributions that each needs."""
SLOW = {"thinc": 1e9}
"""Sides that are left out above so many operations: they would take minutes, and say nothing more."""
TOLERANCE = {"forward": 5e-6, "gradient": 1e-5}
"""Relative Frobenius norm, against float64."""

Host = Any
Results = dict[str, Host]
Step = Callable[..., Any]


class Case(NamedTuple):
    """The same for all sides."""

    size: tuple[int, int, int, int]
    weights: Results  # weight_ih (4H, D), weight_hh (4H, H), bias (4H,), gates in the order i, f, g, o
    x: Host  # (N, T, D)
    dh: Host  # (N, H), the gradient of the final h
    lengths: list[int] | None = None


def case_of(size: tuple[int, int, int, int]) -> Case:
    N, T, D, H = size
    layer = xlstm.LSTM(D, H, device="cpu", kernels="reference", seed=0, init="pytorch")
    weights = {name: np.array(layer.parameters[f"{name}_l0"]) for name in ("weight_ih", "weight_hh", "bias")}
    rng = np.random.default_rng(0)
    x, dh = rng.standard_normal((N, T, D), dtype=np.float32), rng.standard_normal((N, H), dtype=np.float32)
    return Case(size, weights, x, dh)


class Xlstm:
    """This library, as it comes."""

    kernels = "auto"

    def __init__(self, case: Case, threads: int) -> None:
        _, _, D, H = case.size
        self.layer = xlstm.LSTM(D, H, dtype=str(case.x.dtype), device="cpu", kernels=self.kernels)
        for name, value in case.weights.items():
            self.layer.parameters[f"{name}_l0"] = value
        self.x, self.dh, self.lengths = case.x, case.dh[None], case.lengths

    def train(self) -> Any:
        _, state, tape = self.layer.forward(self.x, lengths=self.lengths)
        self.layer.backward(tape, d_state=(self.dh, None), input_gradient=False)
        return state

    def trained(self, state: Any) -> Results:
        gradients = {f"d_{name}": self.layer.gradients[f"{name}_l0"] for name in ("weight_ih", "weight_hh", "bias")}
        return {"h": state[0][0], **gradients}

    def infer(self) -> Any:
        return self.layer(self.x)

    def inferred(self, value: Any) -> Results:
        outputs, (h, c) = value
        return {"outputs": outputs, "h": h[0], "c": c[0]}

    def stream(self, steps: list[Host]) -> Step:
        call, state = self.layer.prepare(), None

        def step(t: int = 0) -> Any:
            nonlocal state
            outputs, state = call(steps[t], state)
            return outputs

        return step


class Prepared(Xlstm):
    """The same through `prepare()`."""

    def __init__(self, case: Case, threads: int) -> None:
        super().__init__(case, threads)
        self.prepared = self.layer.prepare()

    def infer(self) -> Any:
        return self.prepared(self.x)


class Reference(Xlstm):
    """This library without its compiled kernels: NumPy."""

    kernels = "reference"


class Torch:
    """torch.nn.LSTM. A batch with lengths is packed in each step, which is what its users do."""

    def __init__(self, case: Case, threads: int) -> None:
        import torch

        torch.set_num_threads(threads)
        self.torch = torch
        _, _, D, H = case.size
        self.x, self.dh = torch.from_numpy(case.x), torch.from_numpy(case.dh)[None]
        self.lengths = None if case.lengths is None else torch.tensor(case.lengths)
        self.lstm = torch.nn.LSTM(D, H, batch_first=True, dtype=self.x.dtype)
        values = convert.to_torch({f"{name}_l0": value for name, value in case.weights.items()})
        self.lstm.load_state_dict({name: torch.from_numpy(value) for name, value in values.items()})
        self.parameters = list(self.lstm.parameters())

    def train(self) -> Any:
        for parameter in self.parameters:
            parameter.grad = None
        x: Any = self.x
        if self.lengths is not None:
            pack = self.torch.nn.utils.rnn.pack_padded_sequence
            x = pack(x, self.lengths, batch_first=True, enforce_sorted=False)
        _, (h, _) = self.lstm(x)
        h.backward(self.dh)
        return h

    def trained(self, h: Any) -> Results:
        d_ih, d_hh, d_bias, _ = (parameter.grad.numpy() for parameter in self.parameters)
        return {"h": h.detach().numpy()[0], "d_weight_ih": d_ih, "d_weight_hh": d_hh, "d_bias": d_bias}

    def infer(self) -> Any:
        with self.torch.inference_mode():
            return self.lstm(self.x)

    def inferred(self, value: Any) -> Results:
        outputs, (h, c) = value
        return {"outputs": outputs.numpy(), "h": h.numpy()[0], "c": c.numpy()[0]}

    def stream(self, steps: list[Host]) -> Step:
        tensors, state = [self.torch.from_numpy(x) for x in steps], None

        def step(t: int = 0) -> Any:
            nonlocal state
            with self.torch.inference_mode():
                outputs, state = self.lstm(tensors[t], state)
            return outputs

        return step


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
        times = interleaved(ways, seconds=0.02)
        self.way = min(ways, key=lambda way: statistics.median(times[way]))
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


class Jax:
    """lax.scan over the steps, the input's product before it; compiled before it is timed."""

    def __init__(self, case: Case, threads: int) -> None:
        import jax

        self.jax, jnp = jax, jax.numpy
        self.weights, self.x, self.dh = jax.tree.map(jnp.asarray, (case.weights, case.x, case.dh))

        self.zero = jnp.zeros((case.size[0], case.size[3]), self.x.dtype)

        def projected(weights: Any, x: Any) -> Any:
            return x @ weights["weight_ih"].T + weights["bias"]

        def cell(weights: Any, h: Any, c: Any, z: Any) -> Any:
            i, f, g, o = jnp.split(z + h @ weights["weight_hh"].T, 4, axis=1)
            c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
            return jax.nn.sigmoid(o) * jnp.tanh(c), c

        def layer(weights: Any, x: Any) -> Any:
            def step(state: Any, z: Any) -> Any:
                state = cell(weights, *state, z)
                return state, state[0]

            start = jnp.zeros_like(self.zero)
            state, outputs = jax.lax.scan(step, (start, start), projected(weights, x.swapaxes(0, 1)))
            return outputs.swapaxes(0, 1), state

        def loss(weights: Any, x: Any, dh: Any) -> Any:
            h = layer(weights, x)[1][0]
            return jnp.vdot(h, dh), h

        self.layer, self.loss = jax.jit(layer), jax.jit(jax.value_and_grad(loss, has_aux=True))
        self.step = jax.jit(lambda weights, x, h, c: cell(weights, h, c, projected(weights, x)))

    def compile(self) -> None:
        """The training step, without running it."""
        self.loss = self.loss.lower(self.weights, self.x, self.dh).compile()

    def train(self) -> Any:
        return self.jax.block_until_ready(self.loss(self.weights, self.x, self.dh))

    def trained(self, value: Any) -> Results:
        (_, h), gradients = value
        return {"h": np.asarray(h), **{f"d_{name}": np.asarray(gradient) for name, gradient in gradients.items()}}

    def infer(self) -> Any:
        return self.jax.block_until_ready(self.layer(self.weights, self.x))

    def inferred(self, value: Any) -> Results:
        outputs, (h, c) = value
        return {"outputs": np.asarray(outputs), "h": np.asarray(h), "c": np.asarray(c)}

    def stream(self, steps: list[Host]) -> Step:
        inputs, h, c = [self.jax.numpy.asarray(x[:, 0]) for x in steps], self.zero, self.zero

        def step(t: int = 0) -> Any:
            nonlocal h, c
            h, c = self.jax.block_until_ready(self.step(self.weights, inputs[t], h, c))
            return h

        return step


class Thinc:
    """The compiled LSTM of its NumpyOps, from the batch as that has it: (T·N, D), step after step. It has no stream."""

    GATES = (1, 0, 3, 2)  # its order is f, i, o, candidate: this takes ours there, and back

    def __init__(self, case: Case, threads: int) -> None:
        from thinc.api import NumpyOps

        N, T, D, H = case.size
        self.size, self.ops = case.size, NumpyOps()
        blocks = [self._reordered(case.weights[name]) for name in ("weight_ih", "bias", "weight_hh")]
        self.vector = np.concatenate([*(block.ravel() for block in blocks), np.zeros(4 * H)]).astype(np.float32)
        self.x = np.ascontiguousarray(case.x.swapaxes(0, 1)).reshape(T * N, D)
        self.rows = np.full(T, N, dtype=np.int32)
        self.start = np.zeros((1, 1, H), np.float32)
        self.dy = np.zeros((T * N, H), np.float32)
        self.dy[-N:] = case.dh

    def _reordered(self, weights: Host) -> Host:
        H = self.size[3]
        return weights.reshape(4, H, -1)[list(self.GATES)].reshape(weights.shape)

    def train(self) -> Any:
        y, tape = self.ops.lstm_forward_training(self.vector, self.start, self.start, self.x, self.rows)
        return y, self.ops.backprop_lstm(self.dy, self.rows, self.vector, tape)[1]

    def trained(self, value: Any) -> Results:
        y, d_vector = value
        N, _, D, H = self.size
        d_ih, d_bias, d_hh, _ = np.split(d_vector, np.cumsum([4 * H * D, 4 * H, 4 * H * H]))
        gradients = {"d_weight_ih": d_ih.reshape(4 * H, D), "d_weight_hh": d_hh.reshape(4 * H, H), "d_bias": d_bias}
        return {"h": y[-N:], **{name: self._reordered(value) for name, value in gradients.items()}}

    def infer(self) -> Any:
        return self.ops.lstm_forward_inference(self.vector, self.start, self.start, self.x, self.rows)

    def inferred(self, y: Any) -> Results:  # it does not tell the final c
        N, T, _, H = self.size
        return {"outputs": y.reshape(T, N, H).swapaxes(0, 1), "h": y[-N:]}


OURS = {"xlstm": Xlstm, "xlstm prepared": Prepared, "reference": Reference}
SIDES: dict[str, Any] = {**OURS, "torch": Torch, "onnxruntime": OnnxRuntime, "jax": Jax, "thinc": Thinc}
CAN = {
    "train": ("xlstm", "reference", "torch", "jax", "thinc"),
    "infer": tuple(SIDES),
    "stream": ("xlstm", "reference", "torch", "onnxruntime", "jax"),
    "ragged": ("xlstm", "reference", "torch"),
}


def missing(peer: str) -> list[str]:
    """The distributions that it needs and that are not installed."""
    return [name for name in NEEDS[peer] if find_spec(name) is None]


def taking_part(kind: str, peers: list[str], flops: float = 0.0) -> list[str]:
    """The sides that can do one of CAN; the reference only where it is not what xlstm runs anyway."""
    here = [name for name in OURS if name != "reference" or cpu.target is not None] + peers
    return [name for name in CAN[kind] if name in here and flops <= SLOW.get(name, math.inf)]


def streams(case: Case, steps: list[Host], peers: list[str], threads: int) -> dict[str, Step]:
    """By name; the state of each is zero."""
    made: dict[str, Step] = {}
    for name in taking_part("stream", peers):
        if name == "onnxruntime":
            made |= onnx_streams(case, steps, threads)
        else:
            made[name] = SIDES[name](case, threads).stream(steps)
    return made


# ---------------------------------------------------------------- right before timed


def outcome(side: Any, kind: str) -> Results:
    """What a side gives: "train" or "infer"."""
    return side.trained(side.train()) if kind == "train" else side.inferred(side.infer())


def truth(case: Case, kind: str) -> Results:
    """The same in float64: PyTorch's word, or else our reference's."""
    judge: Any = Reference if missing("torch") else Torch
    weights = {name: value.astype(np.float64) for name, value in case.weights.items()}
    case = case._replace(weights=weights, x=case.x.astype(np.float64), dh=case.dh.astype(np.float64))
    return outcome(judge(case, 1), kind)


def errors_of(got: Results, true: Results) -> dict[str, float]:
    """The largest relative error of the outputs and states, and of the gradients."""
    kinds: dict[str, float] = {}
    for name, value in got.items():
        kind = "gradient" if name.startswith("d_") else "forward"
        kinds[kind] = max(relative(value, true[name]), kinds.get(kind, 0.0))
    return kinds


def relative(got: Host, true: Host) -> float:
    if got.shape != true.shape or not np.isfinite(got).all():
        return math.inf
    return float(np.linalg.norm((got - true).ravel()) / np.linalg.norm(true.ravel()))


def judged(errors: Mapping[str, dict[str, float]]) -> dict[str, Any]:
    """The errors, and who is wrong."""
    wrong = [name for name, each in errors.items() if any(error > TOLERANCE[kind] for kind, error in each.items())]
    return {"errors": errors, "wrong": wrong, "ours_wrong": [name for name in wrong if name.startswith(tuple(OURS))]}
