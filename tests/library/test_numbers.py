"""Numbers through the whole model: gradients of every loss, readout and cell beside central differences of plain loops,
and ragged batches beside PyTorch."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from xlstm import backends, cells
from xlstm.convert import to_torch
from xlstm.model import Architecture, Batch, Model
from xlstm.readout import READOUTS
from xlstm.tasks import Numbers
from xlstm.tasks.numbers import LOSSES

from .. import oracle
from ..measure import check, gradient_errors, relative_error
from ..peers import peer

CPU = backends.select("cpu")
POOLED = [name for name, readout in READOUTS.items() if not readout.each_step]
LEVELS = [0.2, 0.6]


class Problem:
    """A model with random parameters, ragged rows, numbers and weights."""

    def __init__(self, cell, readout, loss, seed=0, dtype="float64", layers=1, bidirectional=False, D=3, H=3, C=2, N=4):
        rng = np.random.default_rng([seed, H, D])
        self.loss, self.lengths = loss, [int(length) for length in rng.integers(1, 6, N)]
        y = rng.normal(50, 20, (20, 1 if loss == "quantiles" else C))
        self.task, targets = Numbers.learn(y, 20)
        name, levels = ("quantile", LEVELS) if loss == "quantiles" else (loss, 0.3)
        self.task.follow(SimpleNamespace(loss=name, huber_delta=0.7, quantile=levels))
        self.task.measure(targets)
        architecture = Architecture(
            cell, D, False, None, H, layers, bidirectional, 0.0, self.task.outputs, dtype, "orthogonal", readout
        )
        self.model = Model(architecture, CPU, "auto", rng)
        self.model.parameters.flat[...] += 0.3 * rng.standard_normal(self.model.parameters.flat.shape)
        self.rows = [rng.standard_normal((length, D)).astype(dtype) for length in self.lengths]
        self.y, self.weights = y[:N], rng.uniform(0.2, 2, N).astype(dtype)
        self.targets = self.task.batch(targets, np.arange(N), CPU, dtype)

    def batch(self) -> Batch:
        block = np.full((len(self.rows), max(self.lengths), self.rows[0].shape[1]), np.nan, self.weights.dtype)
        for n, row in enumerate(self.rows):
            block[n, : len(row)] = row
        return Batch(block, None, self.lengths)

    def run(self) -> tuple[Any, dict[str, Any]]:
        """The loss and all gradients, by the library."""
        outputs, tape = self.model.forward(self.batch(), np.random.default_rng(0))
        loss, d_outputs = self.task.loss(outputs, self.targets, self.weights)
        self.model.backward(tape, d_outputs)
        assert {loss.dtype, d_outputs.dtype} == {self.weights.dtype}
        return loss, {name: np.array(gradient) for name, gradient in self.model.gradients.items()}

    def plain(self) -> float:
        """The loss, number by number: the oracle's outputs, and numbers in their own unit."""
        parameters = {name: view.astype(np.float64) for name, view in self.model.parameters.items()}
        total = 0.0
        for row, y, weight in zip(self.rows, self.y, self.weights, strict=True):
            seen = features(self.model.architecture, parameters, row)
            answers = parameters["head.weight"] @ seen + parameters["head.bias"]
            answers = answers * self.task.scale + self.task.center  # in the unit of y
            total += weight * np.mean([self._of_one(k, answers[k] - y[k % len(y)]) for k in range(len(answers))])
        return float(total / len(self.rows))

    def _of_one(self, k: int, error: float) -> float:
        r = error / self.task.scale[k % len(self.task.scale)]
        if self.loss == "squared":
            return r**2
        if self.loss == "absolute":
            return abs(r)
        if self.loss == "huber":
            return r**2 / 2 if abs(r) < 0.7 else 0.7 * (abs(r) - 0.35)
        level = LEVELS[k] if self.loss == "quantiles" else 0.3
        return max(-level * r, (1 - level) * r)


def features(architecture: Architecture, parameters: dict[str, Any], row: Any) -> Any:
    """What the head sees of one row alone."""
    recurrent = {n.removeprefix("recurrent."): v for n, v in parameters.items() if n.startswith("recurrent.")}
    outputs, state = oracle.forward(architecture.cell, recurrent, row[None])
    h = outputs[0]  # (T, F)
    scores = np.exp(h @ parameters["readout.query"]) if "readout.query" in parameters else np.ones(len(h))
    parts = {
        "final": np.concatenate(list(state["h"][-architecture.sizes.directions :, 0])),
        "mean": h.mean(axis=0),
        "max": h.max(axis=0),
        "attention": scores @ h / scores.sum(),
    }
    return np.concatenate([parts[name] for name in architecture.readout.split("+")])


@pytest.mark.parametrize("loss", [*LOSSES, "quantiles"])
@pytest.mark.parametrize("readout", POOLED)
@pytest.mark.parametrize("cell", list(cells.CELLS))
def test_gradients_are_those_of_central_differences(cell, readout, loss):
    two = len(cell + readout + loss) % 2 == 0
    problem = Problem(cell, readout, loss, seed=3, N=3, bidirectional=two, layers=1 + two)
    found, _ = problem.run()
    assert float(found) == pytest.approx(problem.plain(), rel=1e-12)
    rng, flat = np.random.default_rng(1), problem.model.parameters.flat
    gradient, before = np.array(problem.model.gradients.flat), np.array(flat)
    for _ in range(3):
        direction, losses = rng.standard_normal(flat.shape), []
        for sign in (1, -1):
            flat[...] = before + sign * 1e-5 * direction
            losses.append(problem.plain())
        slope = (losses[0] - losses[1]) / 2e-5
        assert abs(slope - gradient @ direction) < 1e-7 * max(1, np.linalg.norm(gradient))


def twin(problem: Problem) -> tuple[Any, dict[str, Any]]:
    """Loss and gradients of the same in PyTorch, in float64."""
    torch = peer("torch")
    a, parameters = problem.model.architecture, problem.model.parameters
    kind = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU, "rnn": torch.nn.RNN}[a.cell]
    module = kind(a.input_size, a.hidden_size, a.num_layers, bidirectional=a.bidirectional, batch_first=True).double()
    state = to_torch({n.removeprefix("recurrent."): v for n, v in parameters.items() if n.startswith("recurrent.")})
    module.load_state_dict({name: torch.tensor(values).double() for name, values in state.items()})
    own = {n: torch.tensor(v).double().requires_grad_() for n, v in parameters.items() if not n.startswith("recurrent")}
    rows = [torch.tensor(row).double() for row in problem.rows]
    packed = torch.nn.utils.rnn.pack_sequence(rows, enforce_sorted=False)
    outputs, final = module(packed)
    h, lengths = torch.nn.utils.rnn.pad_packed_sequence(outputs, batch_first=True)
    final = final[0] if a.cell == "lstm" else final
    valid = torch.arange(h.shape[1])[None, :, None] < lengths[:, None, None]
    parts = {
        "final": lambda: torch.cat(list(final[-2 if a.bidirectional else -1 :]), dim=1),
        "mean": lambda: h.sum(dim=1) / lengths[:, None],
        "max": lambda: h.masked_fill(~valid, -torch.inf).amax(dim=1),
        "attention": lambda: (
            torch.softmax((h @ own["readout.query"])[..., None].masked_fill(~valid, -torch.inf), dim=1) * h
        ).sum(dim=1),
    }
    seen = torch.cat([parts[name]() for name in a.readout.split("+")], dim=1)
    z = seen @ own["head.weight"].T + own["head.bias"]
    task = problem.task
    t = ((torch.tensor(problem.y) - torch.tensor(task.center)) / torch.tensor(task.scale)).expand(z.shape)
    F, levels = torch.nn.functional, torch.tensor(LEVELS if problem.loss == "quantiles" else [0.3]).double()
    each = {
        "squared": lambda: F.mse_loss(z, t, reduction="none"),
        "absolute": lambda: F.l1_loss(z, t, reduction="none"),
        "huber": lambda: F.huber_loss(z, t, reduction="none", delta=0.7),
    }.get(problem.loss, lambda: torch.maximum(levels * (t - z), (levels - 1) * (t - z)))()
    loss = (torch.tensor(problem.weights).double() * each.mean(dim=1)).mean()
    loss.backward()
    # Of the two biases that it has, the gradients are alike, and ours is that of either; but for one gate of the GRU.
    gradients = {f"recurrent.{name.replace('bias_ih', 'bias')}": p.grad for name, p in module.named_parameters()}
    for suffix in a.sizes.suffixes() if a.cell == "gru" else ():
        gradients[f"recurrent.bias_hn_{suffix}"] = gradients[f"recurrent.bias_hh_{suffix}"][-a.hidden_size :]
    gradients |= {name: values.grad for name, values in own.items()}
    return loss.item(), {name: values.numpy() for name, values in gradients.items()}


def test_as_pytorch_on_random_ragged_batches():
    """A hundred, in float32, beside PyTorch in float64: loss and gradients to 1e-5."""
    rng = np.random.default_rng(0)
    for seed in range(100):
        cell, readout = rng.choice(["lstm", "gru", "rnn"]), rng.choice(POOLED)
        loss, D, H, C = rng.choice([*LOSSES, "quantiles"]), *map(int, rng.integers(1, 7, 3))
        problem = Problem(
            str(cell), str(readout), str(loss), seed, "float32", int(rng.integers(1, 3)), bool(rng.integers(2)),
            D, H, C, N=int(rng.integers(1, 9)),
        )  # fmt: skip
        found, gradients = problem.run()
        expected, of_torch = twin(problem)
        case = (seed, cell, readout, loss, D, H, C)
        assert relative_error(found, expected) < 1e-5, case
        check(gradient_errors(gradients, {name: of_torch[name] for name in gradients}), 1e-5, case)
