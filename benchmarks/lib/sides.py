"""The sides of peers.py and footprint.py: what they are given, how each makes its calls, and what is right.

A side has `train` and `infer`, which are timed, and `trained` and `inferred`, which make of what these return arrays as
ours are: h and, with a d_ in front, the gradient of each parameter; and outputs, h, and c of an LSTM. `stream(steps)`
returns a function that takes the number of a step (the first if there is none) and returns h; its state begins at zero,
and is kept from call to call.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

import numpy as np

from xlstm.layers import LAYERS

from . import errors, machine
from .case import Case, Host, Results, Step
from .command import choices
from .onnx_side import OnnxRuntime, onnx_streams

NEEDS = {"torch": ["torch"], "onnxruntime": ["onnxruntime", "onnx"], "jax": ["jax"], "thinc": ["thinc"]}
"""The peers, and the distributions that each needs."""
CONSISTS_OF = {**NEEDS, "jax": ["jax", "jaxlib"]}
"""The distributions whose versions are told of each."""
OF_EVERY_CELL = ("torch", "onnxruntime")
"""The peers that are given other cells than an LSTM."""
SLOW = {"thinc": 1e9}
"""Sides that are left out above so many operations: they would take minutes, and say nothing more."""
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NPROC")  # the last is JAX's


def by_name(state: Any) -> dict[str, Any]:
    """The state of a layer, which is h alone, or the pair of an LSTM."""
    return dict(zip("hc", state if isinstance(state, tuple) else (state,), strict=False))


class Xlstm:
    """This library, as it comes."""

    kernels = "auto"

    def __init__(self, case: Case, threads: int) -> None:
        _, _, D, H = case.size
        self.layer = LAYERS[case.cell](D, H, dtype=str(case.x.dtype), device="cpu", kernels=self.kernels)
        for name, value in case.weights.items():
            self.layer.parameters[f"{name}_l0"] = value
        self.x, self.lengths = case.x, case.lengths
        self.d_state = (case.dh[None], None) if case.cell == "lstm" else case.dh[None]

    def train(self) -> Any:
        _, state, tape = self.layer.forward(self.x, lengths=self.lengths)
        self.layer.backward(tape, d_state=self.d_state, input_gradient=False)
        return state

    def trained(self, state: Any) -> Results:
        gradients = {f"d_{name.removesuffix('_l0')}": values for name, values in self.layer.gradients.items()}
        return {"h": by_name(state)["h"][0], **gradients}

    def infer(self) -> Any:
        return self.layer(self.x)

    def inferred(self, value: Any) -> Results:
        outputs, state = value
        return {"outputs": outputs, **{name: values[0] for name, values in by_name(state).items()}}

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


def torch_state(weights: Mapping[str, Host]) -> dict[str, Any]:
    """Our weights for PyTorch's layer, which has two biases: the second is zero, but for the candidate of a GRU."""
    import torch

    bias, second = weights["bias"], weights.get("bias_hn", np.zeros(0, weights["bias"].dtype))
    zeros = np.zeros(len(bias) - len(second), bias.dtype)
    ours = {"weight_ih": weights["weight_ih"], "weight_hh": weights["weight_hh"], "bias_ih": bias,
            "bias_hh": np.concatenate([zeros, second])}  # fmt: skip
    return {f"{name}_l0": torch.from_numpy(value) for name, value in ours.items()}


class Torch:
    """torch.nn.LSTM, GRU or RNN. A batch with lengths is packed in each step, which is what its users do."""

    def __init__(self, case: Case, threads: int) -> None:
        import torch

        torch.set_num_threads(threads)
        self.torch = torch
        _, _, D, H = case.size
        self.x, self.dh = torch.from_numpy(case.x), torch.from_numpy(case.dh)[None]
        self.lengths = None if case.lengths is None else torch.tensor(case.lengths)
        self.layer = getattr(torch.nn, case.cell.upper())(D, H, batch_first=True, dtype=self.x.dtype)
        self.layer.load_state_dict(torch_state(case.weights))
        self.parameters = list(self.layer.parameters())
        self.second = len(
            case.weights.get("bias_hn", ())
        )  # how many numbers of its second bias are ours, its last ones

    def train(self) -> Any:
        for parameter in self.parameters:
            parameter.grad = None
        x: Any = self.x
        if self.lengths is not None:
            pack = self.torch.nn.utils.rnn.pack_padded_sequence
            x = pack(x, self.lengths, batch_first=True, enforce_sorted=False)
        h = by_name(self.layer(x)[1])["h"]
        h.backward(self.dh)
        return h

    def trained(self, h: Any) -> Results:
        d_ih, d_hh, d_bias, d_second = (parameter.grad.numpy() for parameter in self.parameters)
        own = {"d_bias_hn": d_second[-self.second :]} if self.second else {}
        return {"h": h.detach().numpy()[0], "d_weight_ih": d_ih, "d_weight_hh": d_hh, "d_bias": d_bias, **own}

    def infer(self) -> Any:
        with self.torch.inference_mode():
            return self.layer(self.x)

    def inferred(self, value: Any) -> Results:
        outputs, state = value
        return {"outputs": outputs.numpy(), **{name: of.numpy()[0] for name, of in by_name(state).items()}}

    def stream(self, steps: list[Host]) -> Step:
        tensors, state = [self.torch.from_numpy(x) for x in steps], None

        def step(t: int = 0) -> Any:
            nonlocal state
            with self.torch.inference_mode():
                outputs, state = self.layer(tensors[t], state)
            return outputs

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


def add_options(made: argparse.ArgumentParser) -> None:
    """--peers and --threads."""
    made.add_argument("--peers", type=choices(list(NEEDS)), default=list(NEEDS), help="default: all installed")
    made.add_argument(
        "--threads", type=int, default=min(2, machine.cores()), help="of every side (default: 2, or 1 of 1)"
    )


def begin(options: argparse.Namespace) -> list[str]:
    """Set the number of threads, take the peers that are not installed out of the options, and return what they lack.

    Where the variables that set the number of threads say something else, this process begins anew: most libraries read
    them only when they are loaded, and NumPy is by now.
    """
    wanted = {"JAX_PLATFORMS": "cpu", **{name: str(options.threads) for name in THREAD_VARIABLES}}
    if any(os.environ.get(name) != value for name, value in wanted.items()):
        os.environ.update(wanted)
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
    absent = {peer: missing(peer) for peer in options.peers if missing(peer)}
    for peer, names in absent.items():
        print(f"*** {peer} IS LEFT OUT, NOT INSTALLED: {', '.join(names)} ***", file=sys.stderr, flush=True)
    options.peers = [peer for peer in options.peers if peer not in absent]
    return [name for names in absent.values() for name in names]


def missing(peer: str) -> list[str]:
    """The distributions that it needs and that are not installed."""
    return [name for name in NEEDS[peer] if find_spec(name) is None]


def taking_part(kind: str, peers: list[str], flops: float = 0.0) -> list[str]:
    """The sides that can do one of CAN; the reference only where it is not what xlstm runs anyway."""
    here = [name for name in OURS if name != "reference" or machine.kernels() != "reference"] + peers
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


def judged(found: Mapping[str, dict[str, float]]) -> dict[str, Any]:
    """The errors, and who is wrong."""
    wrong = errors.wrong_among(found)
    return {"errors": found, "wrong": wrong, "ours_wrong": [name for name in wrong if name.startswith(tuple(OURS))]}
