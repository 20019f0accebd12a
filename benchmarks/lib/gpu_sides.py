"""The sides of the tables of bench_gpu.py: one LSTM layer on a GPU, by this library, PyTorch and JAX.

Each side has `infer`, which gives the outputs of all steps, and `train`, a forward and a backward pass from a gradient
of all outputs to those of the input and of all weights. Both take the number of an input: inputs take turns, so that
none stays in the GPU's cache. `results` makes of what `train` returns arrays as ours are: of CuPy, or on the host.
`told` is what runs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from xlstm.backends.cuda.cudnn import plan

from xlstm import backends

from .gpu_device import Pair, layer
from .shapes import Size

WEIGHTS = ("weight_ih", "weight_hh", "bias")
ALL_INPUTS = 100_000_000
"""Bytes that all inputs of a side have together at least: twice the cache of an H100."""
MOST_INPUTS = 8
OF_JAX = ("highest", "float16")
"""The precisions in which JAX takes part: it compiles anew for each."""
ALGORITHMS = {
    plan.STANDARD: "standard",
    plan.PERSIST_STATIC: "persistent",
    plan.SMALL_H: "persistent, few hidden units",
}
"""cuDNN's, by its own numbers."""
OVER_PADDING = "torch, over the padding"
"""The side that reads a ragged batch as a full one: its results are others."""


class Given(NamedTuple):
    """What all sides are given, on the host in float32."""

    size: Size
    weights: Mapping[str, Any]  # weight_ih (4H, D), weight_hh (4H, H), bias (4H,), gates in the order i, f, g, o
    inputs: list[Any]  # each (N, T, D)
    d_outputs: Any  # (N, T, H)
    lengths: list[int] | None


def given_of(size: Size, ragged: bool) -> Given:
    """Weights, random inputs and lengths; what stands after a row's length is zero, for libraries that read it."""
    N, T, D, H = size
    rng = np.random.default_rng(0)
    weights = {
        name: rng.uniform(-(H**-0.5), H**-0.5, shape).astype(np.float32)
        for name, shape in zip(WEIGHTS, ((4 * H, D), (4 * H, H), (4 * H,)), strict=True)
    }
    many = max(1, min(MOST_INPUTS, -(-ALL_INPUTS // (4 * N * T * D)))) if N * T * D > 1_000_000 else 2
    inputs = [rng.standard_normal((N, T, D), dtype=np.float32) for _ in range(many)]
    d_outputs = rng.standard_normal((N, T, H), dtype=np.float32)
    lengths = rng.permutation(np.concatenate([[T], rng.integers(max(1, T // 10), T + 1, N - 1)])) if ragged else None
    if lengths is not None:
        padding = np.arange(T) >= lengths[:, None]
        for array in (*inputs, d_outputs):
            array[padding] = 0
    return Given(size, weights, inputs, d_outputs, None if lengths is None else lengths.tolist())


class Ours:
    """This library, on a level and in a precision."""

    clock = "events"

    def __init__(
        self, given: Given, device: str, level: str, precision: str, dtype: str = "float32", host: bool = False
    ) -> None:
        _, _, D, H = given.size
        self.layer = layer("lstm", (D, H), device, level, precision, dtype=dtype)
        self.backend: backends.Backend = self.layer.backend
        with self.backend.current():
            for name, values in given.weights.items():
                self.layer.parameters[f"{name}_l0"][...] = self._placed(values)
        self.told = self.layer.kernels
        self.lengths, self.host = given.lengths, host
        self.x = given.inputs if host else [self._placed(x) for x in given.inputs]
        self.d_outputs = self._placed(given.d_outputs)

    def _placed(self, values: Any) -> Any:
        return self.backend.from_host(values.astype(self.layer.dtype))

    def infer(self, k: int = 0) -> Any:
        outputs = self.layer(self._input(k), lengths=self.lengths)[0]
        return self.backend.to_host(outputs) if self.host else outputs

    def _input(self, k: int) -> Any:
        x = self.x[k % len(self.x)]
        return self.backend.from_host(x) if self.host else x

    def train(self, k: int = 0) -> Any:
        outputs, _, tape = self.layer.forward(self._input(k), lengths=self.lengths)
        dx, _ = self.layer.backward(tape, self.d_outputs)
        if self.host:
            return self.backend.to_host(outputs), self.backend.to_host(dx)
        return outputs, dx

    def algorithm(self) -> str:
        """By which of cuDNN's algorithms a training step is computed: it may have refused the one asked for."""
        tape = self.layer.forward(self._input(0), lengths=self.lengths)[2]
        (_, own), *_ = tape.cell_tapes  # a level's cell, and its tape
        return ALGORITHMS[own.algorithm]

    def results(self, returned: Any) -> dict[str, Any]:
        outputs, dx = (self.backend.from_host(a) for a in returned) if self.host else returned
        gradients = {f"d_{name}": self.layer.gradients[f"{name}_l0"] for name in WEIGHTS}
        return {"outputs": outputs, "dx": dx, **gradients}


class Torch:
    """torch.nn.LSTM, time first, which is its own order; all of it in the dtype of the precision.

    A batch with lengths is packed in each step, as its users do; or, `packed=False`, run over its padding, whose
    outputs are then no zeros.
    """

    clock = "events"

    def __init__(
        self, given: Given, precision: str, device: str = "cuda", packed: bool = True, host: bool = False
    ) -> None:
        import torch

        self.torch, self.device, self.host = torch, device, host
        self.told = f"torch {torch.__version__}, cuDNN {torch.backends.cudnn.version()}"
        dtype = {"float16": torch.float16, "bfloat16": torch.bfloat16}.get(precision, torch.float32)
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = precision == "high"
        _, _, D, H = given.size
        bias = given.weights["bias"]
        values = {"weight_ih_l0": given.weights["weight_ih"], "weight_hh_l0": given.weights["weight_hh"],
                  "bias_ih_l0": bias, "bias_hh_l0": np.zeros_like(bias)}  # fmt: skip
        self.lstm = torch.nn.LSTM(D, H)
        self.lstm.load_state_dict({name: torch.from_numpy(value) for name, value in values.items()})
        self.lstm = self.lstm.to(device=device, dtype=dtype)
        self.parameters = list(self.lstm.parameters())
        first = [torch.from_numpy(np.ascontiguousarray(x.swapaxes(0, 1))).to(dtype) for x in given.inputs]
        self.x = first if host else [x.to(device).requires_grad_() for x in first]
        d_outputs = torch.from_numpy(np.ascontiguousarray(given.d_outputs.swapaxes(0, 1)))
        self.d_outputs = d_outputs.to(device=device, dtype=dtype)
        self.lengths = torch.tensor(given.lengths) if given.lengths is not None and packed else None

    def _input(self, k: int, gradient: bool) -> Any:
        x = self.x[k % len(self.x)]
        return x.to(self.device).requires_grad_(gradient) if self.host else x

    def _outputs(self, x: Any) -> Any:
        rnn = self.torch.nn.utils.rnn
        if self.lengths is None:
            return self.lstm(x)[0]
        packed = self.lstm(rnn.pack_padded_sequence(x, self.lengths, enforce_sorted=False))[0]
        return rnn.pad_packed_sequence(packed, total_length=len(x))[0]

    def infer(self, k: int = 0) -> Any:
        with self.torch.inference_mode():
            outputs = self._outputs(self._input(k, False))
        return outputs.cpu() if self.host else outputs

    def train(self, k: int = 0) -> Any:
        x = self._input(k, True)
        for tensor in (x, *self.parameters):
            tensor.grad = None
        outputs = self._outputs(x)
        outputs.backward(self.d_outputs)
        return (outputs.detach().cpu(), x.grad.cpu()) if self.host else (outputs.detach(), x.grad)

    def results(self, returned: Any) -> dict[str, Any]:
        outputs, dx = returned
        d_ih, d_hh, d_bias, _ = (parameter.grad for parameter in self.parameters)
        found = {"outputs": outputs.swapaxes(0, 1), "dx": dx.swapaxes(0, 1), "d_weight_ih": d_ih, "d_weight_hh": d_hh,
                 "d_bias": d_bias}  # fmt: skip
        return {name: tensor.float().cpu().numpy() for name, tensor in found.items()}


class Jax:
    """lax.scan over the steps, the input's product before it; compiled before it is timed.

    It has a stream of its own, which events of another one do not see: it is timed by the host's clock.
    """

    clock = "host"

    def __init__(self, given: Given, precision: str, platform: str = "gpu") -> None:
        import jax

        if jax.default_backend() != platform:
            raise RuntimeError(f"jax runs on {jax.default_backend()}, not on a {platform}")
        self.jax, jnp, self.told = jax, jax.numpy, f"jax {jax.__version__}"
        dtype = {"float16": jnp.float16, "bfloat16": jnp.bfloat16}.get(precision, jnp.float32)
        by = {"highest": "highest", "high": "tensorfloat32"}.get(precision, "default")
        self.weights, self.x, self.d_outputs = jax.tree.map(
            lambda values: jnp.asarray(values, dtype), (dict(given.weights), given.inputs, given.d_outputs)
        )

        def layer(weights: Any, x: Any) -> Any:
            def step(state: Any, z: Any) -> Any:
                h, c = state
                i, f, g, o = jnp.split(z + jnp.matmul(h, weights["weight_hh"].T, precision=by), 4, axis=1)
                c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
                h = jax.nn.sigmoid(o) * jnp.tanh(c)
                return (h, c), h

            projected = jnp.matmul(x.swapaxes(0, 1), weights["weight_ih"].T, precision=by) + weights["bias"]
            start = jnp.zeros((x.shape[0], weights["weight_hh"].shape[1]), dtype)
            return jax.lax.scan(step, (start, start), projected)[1].swapaxes(0, 1)

        def training(weights: Any, x: Any, d_outputs: Any) -> Any:
            outputs, back = jax.vjp(layer, weights, x)
            return outputs, back(d_outputs)

        self.layer, self.training = jax.jit(layer), jax.jit(training)

    def infer(self, k: int = 0) -> Any:
        return self.jax.block_until_ready(self.layer(self.weights, self.x[k % len(self.x)]))

    def train(self, k: int = 0) -> Any:
        return self.jax.block_until_ready(self.training(self.weights, self.x[k % len(self.x)], self.d_outputs))

    def results(self, returned: Any) -> dict[str, Any]:
        outputs, (d_weights, dx) = returned
        found = {"outputs": outputs, "dx": dx, **{f"d_{name}": d_weights[name] for name in WEIGHTS}}
        return {name: np.asarray(value, dtype=np.float32) for name, value in found.items()}


def sides_of(given: Given, device: str, pairs: list[Pair], precision: str, host: bool) -> dict[str, Callable[[], Any]]:
    """What makes each side of a case, by its name; the array code takes part in full precision alone."""
    made: dict[str, Callable[[], Any]] = {
        level: (lambda level=level: Ours(given, device, level, precision, host=host))
        for level, known in pairs
        if known == precision
    }
    made["torch"] = lambda: Torch(given, precision, host=host)
    if given.lengths is not None:
        made[OVER_PADDING] = lambda: Torch(given, precision, packed=False, host=host)
    elif not host and precision in OF_JAX:
        made["jax"] = lambda: Jax(given, precision)
    return made
