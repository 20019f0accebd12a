"""`xlstm.check_gradients` on the LSTMs of other libraries, through a few lines of adapter each.

Usage::

    pip install torch thinc==9.1.1                   thinc is left out where it is missing
    python benchmarks/gradcheck_others.py
    python benchmarks/gradcheck_others.py --out      also writes benchmarks/results/gradcheck_others-….json

An adapter is a pair of functions: `forward(params, *inputs)` returns (outputs, tape), `backward(tape, d_outputs)`
returns (d_params, d_inputs). Each is given a small ragged batch: two sequences, of three steps and of two.

The check takes differences in float64 that float32 cannot resolve, and thinc computes in float32 alone. So what its
adapter lets the check measure is a float64 forward pass, once that was found equal to thinc's own as far as float32
goes; what is judged is thinc's own backward pass, from the tape of its own forward pass. PyTorch in float32 goes
through the same arrangement, and passes: it is fair.

The exit code is 1 if PyTorch or this library fails.
"""

from __future__ import annotations

import importlib.metadata
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from lib.command import finish, parser
from lib.errors import TOLERANCE, relative_error
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import xlstm
from xlstm.cells import lstm

D, H = 3, 4  # features, hidden
LENGTHS = [3, 2]
N, T = len(LENGTHS), max(LENGTHS)
SAME = TOLERANCE["float32"]["forward"]
"""The error within which two float32 forward passes are the same."""


class Case(NamedTuple):
    """What `check_gradients` is given."""

    forward: Callable[..., Any]
    backward: Callable[..., Any]
    params: dict[str, Any]
    inputs: list[Any]


# ---------------------------------------------------------------- PyTorch


def of_torch(dtype: torch.dtype) -> Case:
    """The adapter of torch.nn.LSTM. In float32 the outputs to be measured come from a second run, in float64."""

    def run(dtype: torch.dtype, params: dict[str, Any], *inputs: Any) -> tuple[Any, Any, Any]:
        module = torch.nn.LSTM(D, H, batch_first=True, dtype=dtype)
        module.load_state_dict({name: torch.tensor(values) for name, values in params.items()})
        x, h0, c0 = (torch.tensor(array, dtype=dtype, requires_grad=True) for array in inputs)
        packed, (h, c) = module(pack_padded_sequence(x, LENGTHS, batch_first=True), (h0, c0))
        return (pad_packed_sequence(packed, batch_first=True)[0], h, c), (x, h0, c0), module

    def forward(params: dict[str, Any], *inputs: Any) -> tuple[Any, Any]:
        tape = run(dtype, params, *inputs)
        outputs = tape[0] if dtype == torch.float64 else run(torch.float64, params, *inputs)[0]
        return tuple(output.detach().numpy() for output in outputs), tape

    def backward(tape: Any, d_outputs: Any) -> tuple[Any, Any]:
        outputs, inputs, module = tape
        names, weights = zip(*module.named_parameters(), strict=True)
        upstream = [torch.tensor(d_output, dtype=dtype) for d_output in d_outputs]
        gradients = torch.autograd.grad(outputs, [*weights, *inputs], upstream)
        d_params = dict(zip(names, gradients[: len(names)], strict=True))
        return d_params, list(gradients[len(names) :])

    rng = np.random.default_rng(0)
    shapes = {"weight_ih_l0": (4 * H, D), "weight_hh_l0": (4 * H, H), "bias_ih_l0": (4 * H,), "bias_hh_l0": (4 * H,)}
    params = {name: rng.uniform(-0.5, 0.5, shape) for name, shape in shapes.items()}
    return Case(forward, backward, params, [rng.standard_normal(shape) for shape in ((N, T, D), (1, N, H), (1, N, H))])


# ---------------------------------------------------------------- thinc


OUR_GATES = [1, 0, 3, 2]
"""thinc has its gates in the order f, i, o, candidate; ours are i, f, g, o."""


class Packed(NamedTuple):
    """A batch as thinc has it: the first step of every sequence, then the second of those that have one, and so on."""

    lengths: list[int]  # the longest first

    @property
    def size_at_t(self) -> Any:
        return np.array([sum(length > t for length in self.lengths) for t in range(max(self.lengths))], dtype=np.int32)

    def padded(self, packed: Any) -> Any:
        """(N, T, …) from (sum of the lengths, …)."""
        whole = np.zeros((len(self.lengths), max(self.lengths), packed.shape[1]))
        whole[self._places()] = packed
        return whole

    def packed(self, padded: Any) -> Any:
        """The inverse."""
        return padded[self._places()]

    def _places(self) -> tuple[Any, Any]:
        places = [(n, t) for t, size in enumerate(self.size_at_t) for n in range(size)]
        return tuple(np.array(places).T)


def of_thinc(ops: Any, batch: Packed) -> Case:
    """The adapter of thinc's LSTM: one of its two biases, no initial state, for it has no gradient of that."""

    def forward(params: dict[str, Any], X: Any) -> tuple[Any, Any]:  # X (sum of the lengths, D)
        Y, tape = thincs_own_forward(ops, batch, params, X)
        Y_64 = in_float64(batch, params, X)[0]
        difference = relative_error(Y, Y_64)
        if not difference <= SAME:
            raise ValueError(f"the two forward passes differ by {difference:.1e}: this would be no check of thinc")
        return Y_64, (vector(params), tape)

    def backward(tape: Any, dY: Any) -> tuple[Any, Any]:
        parameters, state = tape
        dX, d_vector = ops.backprop_lstm(dY.astype(np.float32), batch.size_at_t, parameters, state)
        d_Wx, d_b, d_Wh, _ = np.split(d_vector, np.cumsum([4 * H * D, 4 * H, 4 * H * H]))
        return {"Wx": d_Wx.reshape(4 * H, D), "b": d_b, "Wh": d_Wh.reshape(4 * H, H)}, [dX]

    rng = np.random.default_rng(0)
    shapes = {"Wx": (4 * H, D), "b": (4 * H,), "Wh": (4 * H, H)}
    # Numbers that float32 has exactly, so that both passes are of the same ones.
    params = {name: rng.uniform(-0.5, 0.5, shape).astype(np.float32) for name, shape in shapes.items()}
    return Case(forward, backward, params, [rng.standard_normal((sum(batch.lengths), D), dtype=np.float32)])


def vector(params: dict[str, Any]) -> Any:
    """All parameters as thinc has them; its second bias is zero."""
    parts = (params["Wx"].ravel(), params["b"], params["Wh"].ravel(), np.zeros(4 * H))
    return np.concatenate(parts).astype(np.float32)


def thincs_own_forward(ops: Any, batch: Packed, params: dict[str, Any], X: Any) -> tuple[Any, Any]:
    start = np.zeros((1, 1, H), np.float32)
    return ops.lstm_forward_training(vector(params), start, start, X.astype(np.float32), batch.size_at_t)


def in_float64(batch: Packed, params: dict[str, Any], X: Any, dY: Any = None) -> tuple[Any, Any]:
    """The same function by this library in float64: Y, and with dY also dX."""

    def ours(values: Any) -> Any:
        blocks = values.astype(np.float64).reshape(4, H, -1)[OUR_GATES]
        return blocks.reshape(4 * H, -1)

    weights = {"weight_ih": ours(params["Wx"]), "weight_hh": ours(params["Wh"]), "bias": ours(params["b"])[:, 0]}
    outputs, _, tape = lstm.forward(weights, batch.padded(X), lengths=batch.lengths)
    dx = None if dY is None else batch.packed(lstm.backward(weights, tape, batch.padded(dY))[0])
    return batch.packed(outputs), dx


def facts_of_thinc(ops: Any, batch: Packed, case: Case) -> list[str]:
    """What is wrong, in numbers."""
    facts = []
    params, (X,) = case.params, of_thinc(ops, Packed(LENGTHS)).inputs
    Y, Y_64 = thincs_own_forward(ops, Packed(LENGTHS), params, X)[0], in_float64(Packed(LENGTHS), params, X)[0]
    for n, (got, expected) in enumerate(zip(Packed(LENGTHS).padded(Y), Packed(LENGTHS).padded(Y_64), strict=True)):
        told = "all zero" if not got.any() else f"right to {relative_error(got, expected):.0e}"
        facts.append(f"forward, {len(LENGTHS)} sequences: the outputs of sequence {n} are {told}")

    _, tape = case.forward(params, *case.inputs)
    dY = np.random.default_rng(1).standard_normal((sum(batch.lengths), H))
    d_params, (dX,) = case.backward(tape, dY)
    first, true_first = dX[: len(batch.lengths)], in_float64(batch, params, *case.inputs, dY)[1][: len(batch.lengths)]
    facts += [
        f"backward: the first step's input gradient is {np.abs(first).max():.3g} at most, and should be "
        f"{np.abs(true_first).max():.3g}",
        f"backward: the largest of all gradients is {max(np.abs(d).max() for d in (dX, *d_params.values())):.3g}",
    ]
    d_params, _ = case.backward(tape, np.zeros_like(dY))
    for name, d in d_params.items():
        told = "equal to the parameters themselves" if np.array_equal(d, params[name]) else "other than zero"
        facts.append(
            f"backward from zero: the gradients of {name} are {told if d.any() else 'zero, as they should be'}"
        )
    return facts


# ---------------------------------------------------------------- the checks


def main() -> int:
    options = parser("gradcheck_others", __doc__).parse_args()
    results = [
        check("xlstm.LSTM, float64", xlstm.LSTM(D, H, device="cpu", seed=0)),
        check("torch.nn.LSTM, float64", of_torch(torch.float64)),
        check("torch.nn.LSTM, float32", of_torch(torch.float32)),
    ]
    try:
        from thinc.api import NumpyOps, Ops
    except ImportError:
        print("thinc is not installed, and is left out: pip install thinc==9.1.1", file=sys.stderr)
    else:
        version = importlib.metadata.version("thinc")
        # The reference computes the first sequence of a batch alone: its backward pass is judged on one sequence.
        kinds = (("NumpyOps, compiled", NumpyOps(), LENGTHS), ("Ops, the reference", Ops(), LENGTHS[:1]))
        for name, ops, lengths in kinds:
            case = of_thinc(ops, Packed(lengths))
            results.append(check(f"thinc {version}, {name}, float32, lengths {lengths}", case))
            results[-1]["facts"] = facts_of_thinc(ops, Packed(lengths), case)
    text = "\n\n".join(
        "\n".join(
            [
                f"{result['cell']}: {'passes' if result['passed'] else 'FAILS'}",
                *result["report"],
                *(f"  - {fact}" for fact in result["facts"]),
            ]
        )
        for result in results
    )
    finish(options, "gradcheck_others", {"checks": results}, text)
    return int(not all(result["passed"] for result in results if not result["cell"].startswith("thinc")))


def check(name: str, target: Any) -> dict[str, Any]:
    try:
        if isinstance(target, Case):
            report = str(xlstm.check_gradients((target.forward, target.backward), target.inputs, target.params))
        else:
            report = str(xlstm.check_gradients(target))
        passed = True
    except AssertionError as error:
        report, passed = str(error), False
    return {"cell": name, "passed": passed, "report": report.splitlines(), "facts": []}


if __name__ == "__main__":
    sys.exit(main())
