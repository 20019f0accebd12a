"""One training step of an LSTM layer: the library's array code beside PyTorch, and beside the question's style.

Usage::

    python benchmarks/layers.py                                     all shapes; some minutes
    python benchmarks/layers.py --shapes tiny,row --rounds 3
    python benchmarks/layers.py --out                               also writes benchmarks/results/layers-….json

A step is a forward pass that keeps what the backward pass needs, and the backward pass from a gradient of the final h
(many-to-one) to the gradients of all parameters and of the input, on every side. Same weights, same input, same
process. Results are compared with PyTorch in float64 before anything is timed: a wrong one is not timed, and the exit
code is 1. Then the sides take turns in blocks; see README.md.

The question's style (question_style.py) works in float64, one sample at a time, and is timed where a step of it takes
seconds at most (--question-style names the shapes); nothing is extrapolated to the others.
"""

from __future__ import annotations

import argparse
import copy
import sys
import time
from typing import Any

import numpy as np
import torch
from lib import question_style
from lib.command import Row, choices, digits, each, finish, parser, table, use_threads
from lib.errors import errors_of, told, within
from lib.harness import of_all, speed, take_turns
from lib.shapes import SHAPES, training_flops

import xlstm


def main() -> int:
    options = arguments()
    use_threads(options.threads)
    rows, failed = each(options.shapes, SHAPES, lambda name: measure(name, options))
    finish(options, "layers", {"rows": rows, "dtype": "float32", "torch_threads": torch.get_num_threads()}, text(rows))
    return failed


def arguments() -> argparse.Namespace:
    made = parser("layers", __doc__)
    made.add_argument("--shapes", type=choices(list(SHAPES)), default=list(SHAPES), help="names, separated by commas")
    made.add_argument(
        "--question-style", type=choices(list(SHAPES)), default=["tiny", "row"], metavar="SHAPES",
        help='where to time the question\'s style too (default: tiny,row; "" for nowhere)',
    )  # fmt: skip
    made.add_argument("--rounds", type=int, default=7, help="blocks of each side (default: 7)")
    made.add_argument("--seconds", type=float, default=0.2, help="of calls in a block, two calls at least")
    made.add_argument("--threads", type=int, default=2, help="of PyTorch and of NumPy's BLAS (default: 2)")
    return made.parse_args()


# ---------------------------------------------------------------- the sides


def measure(name: str, options: argparse.Namespace) -> Row:
    N, T, D, H = SHAPES[name]
    torch.manual_seed(0)
    theirs = torch.nn.LSTM(D, H, batch_first=True)
    torch.nn.init.zeros_(theirs.bias_hh_l0)  # the sum of the two is then the same number in float32 and in float64
    ours = xlstm.LSTM(D, H, device="cpu", kernels="reference")
    given = {name: tensor.numpy() for name, tensor in theirs.state_dict().items()}
    for parameter in ours.parameters:  # the first of the two biases is ours, the other is zero
        ours.parameters[parameter] = given[parameter.replace("bias_", "bias_ih_")]
    rng = np.random.default_rng(0)
    x, dh = rng.standard_normal((N, T, D), dtype=np.float32), rng.standard_normal((N, H), dtype=np.float32)
    x_torch, dh_torch = torch.from_numpy(x).requires_grad_(), torch.from_numpy(dh)[None]
    weights = list(theirs.parameters())

    def torch_step() -> Any:
        _, (h, c) = theirs(x_torch)
        return h, c, torch.autograd.grad(h, [x_torch, *weights], dh_torch)

    def our_step() -> Any:
        _, (h, c), tape = ours.forward(x)
        dx, _ = ours.backward(tape, d_state=(dh[None], None))
        return h, c, dx

    truth = of_torch(copy.deepcopy(theirs).double(), x_torch, dh_torch)
    errors = {"torch": errors_of(of_torch(theirs, x_torch, dh_torch), truth)}
    h, c, dx = our_step()
    gradients = {f"d_{key}": ours.gradients[f"{key}_l0"] for key in ("weight_ih", "weight_hh", "bias")}
    errors["reference"] = errors_of({"h": h[0], "c": c[0], "dx": dx, **gradients}, truth)
    steps = {"torch": torch_step, "reference": our_step}

    if name in options.question_style:
        p = question_style.parameters(ours.parameters)
        sequences, d_last = question_style.columns(x), question_style.columns(dh)

        def question_step() -> Any:
            return question_style.training_step(p, sequences, d_last)

        errors["question"] = errors_of(question_style.to_layer(*question_step()), truth)
        steps["question"] = question_step

    correct = within(errors["reference"]) and within(errors.get("question", {}), "float64")
    row: Row = {"shape": name, "size": [N, T, D, H], "errors": errors, "correct": correct}
    if not correct:
        return row
    sgemm = [sgemm_gflops()]
    times = take_turns(steps, options.seconds, options.rounds)
    sgemm.append(sgemm_gflops())
    seconds = {side: of_all(times[side]) for side in steps}
    flops = training_flops((N, T, D, H), input_gradient=True)
    return {
        **row,
        "seconds": seconds,
        "times_as_fast": {side: speed(times[side], times["reference"]) for side in steps if side != "reference"},
        "gflops": {side: flops / seconds[side]["median"] / 1e9 for side in ("torch", "reference")},
        "sgemm_gflops": sgemm,
    }


def of_torch(lstm: torch.nn.LSTM, x: torch.Tensor, dh: torch.Tensor) -> dict[str, Any]:
    """All results of one step, in the module's dtype."""
    weights = list(lstm.parameters())
    x = x.detach().to(weights[0].dtype).requires_grad_()
    _, (h, c) = lstm(x)
    dx, d_ih, d_hh, d_bias, _ = torch.autograd.grad(h, [x, *weights], dh.to(weights[0].dtype))
    results = {"h": h[0], "c": c[0], "dx": dx, "d_weight_ih": d_ih, "d_weight_hh": d_hh, "d_bias": d_bias}
    return {name: tensor.detach().numpy() for name, tensor in results.items()}


# ---------------------------------------------------------------- correct before timed


def sgemm_gflops(size: int = 1024, calls: int = 8) -> float:
    """What NumPy's matrix product reaches at this moment: says whether the machine was quiet, and what is possible."""
    a = np.ones((size, size), np.float32)
    times = []
    for _ in range(calls):
        begin = time.perf_counter()
        a @ a
        times.append(time.perf_counter() - begin)
    return 2 * size**3 / min(times) / 1e9


# ---------------------------------------------------------------- for people


def text(rows: list[Row]) -> str:
    def milliseconds(row: Row, side: str) -> str:
        if side not in row.get("seconds", {}):
            return "not measured"
        measured = row["seconds"][side]
        low, high = measured["quartiles"]
        return f"{digits(1e3 * measured['median'])} ({digits(1e3 * low)}–{digits(1e3 * high)})"

    def factor(row: Row, side: str) -> str:
        if side not in row.get("times_as_fast", {}):
            return "not measured"
        values = row["times_as_fast"][side]
        return f"{digits(values['median'])} ({digits(values['lowest'])}–{digits(values['highest'])})"

    times = [
        [
            f"{row['shape']} {', '.join(map(str, row['size']))}",
            milliseconds(row, "torch"),
            milliseconds(row, "reference"),
            factor(row, "torch"),
            milliseconds(row, "question"),
            factor(row, "question"),
            "–".join(f"{value:.0f}" for value in row.get("sgemm_gflops", [])),
        ]
        for row in rows
    ]
    header = ["N, T, D, H", "torch, ms", "xlstm, ms", "speed against torch", "question's style, ms", "speed against it",
              "sgemm, GFLOP/s"]  # fmt: skip
    errors = [
        [
            row["shape"],
            *(told(error.values()) for error in row["errors"].values()),
            *["not compared"] * (3 - len(row["errors"])),
            "right" if row["correct"] else "WRONG",
        ]
        for row in rows
    ]
    return (
        "One training step, input gradient included, float32 (the question's style: float64); xlstm on its reference\n"
        f"path; {torch.get_num_threads()} threads. Milliseconds: median (quartiles). Speed: median (lowest–highest) of "
        "the\nrounds. sgemm: NumPy's matrix product before and after.\n\n"
        + table(header, times)
        + "\n\nRelative errors against float64, of the states and of the gradients.\n\n"
        + table(["", "torch", "xlstm", "question's style", ""], errors)
    )


if __name__ == "__main__":
    sys.exit(main())
