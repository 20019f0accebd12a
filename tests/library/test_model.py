"""The whole model: against plain loops, complex steps and central differences; final valid step, padding, tokens."""

import copy
import pickle
from typing import Any, NamedTuple

import numpy as np
import pytest

import xlstm
from xlstm import backends, cells, head
from xlstm.batch import Encoded
from xlstm.feed import Feed
from xlstm.model import Architecture, Batch, Model

from .. import classifier as truth
from .. import oracle
from ..measure import FORWARD, GRADIENTS, check, gradient_errors, relative_error

LENGTHS = [3, 1, 4, 2]
D, V, E, H = 3, 4, 2, 2
KINDS = ("series", "one-hot", "embedding")
CPU = backends.select("cpu")


class Case(NamedTuple):
    """A model with random parameters, and rows to read."""

    model: Model
    rows: list[np.ndarray]
    labels: list[int]

    @property
    def cell(self) -> str:
        return self.model.architecture.cell

    @property
    def parameters(self) -> dict[str, np.ndarray]:
        return {name: view.astype(np.float64) for name, view in self.model.parameters.items()}

    def batch(self, garbage: Any = None) -> Batch:
        """All rows as one block, with `garbage` after the end of each."""
        tokens = self.model.architecture.tokens
        garbage = (V - 1 if tokens else np.nan) if garbage is None else garbage
        shape = (len(self.rows), max(map(len, self.rows)))
        block = np.full(
            shape if tokens else (*shape, D), garbage, np.int64 if tokens else self.model.architecture.dtype
        )
        for n, row in enumerate(self.rows):
            block[n, : len(row)] = row
        lengths = [len(row) for row in self.rows]
        return Batch(None, block, lengths) if tokens else Batch(block, None, lengths)

    def backward(self, batch: Batch, weights: Any = None) -> dict[str, np.ndarray]:
        """The gradients of the weighted loss, copied."""
        weights = np.ones(len(self.rows)) if weights is None else weights
        logits, tape = self.model.forward(batch, np.random.default_rng(0))
        _, d_logits = truth.cross_entropy(logits, np.array(self.labels), weights.astype(logits.dtype))
        self.model.backward(tape, d_logits)
        return {name: np.array(view) for name, view in self.model.gradients.items()}


def make(
    kind: str = "series",
    cell: str = "lstm",
    layers: int = 2,
    bidirectional: bool = True,
    outputs: int = 3,
    dtype: str = "float64",
    dropout: float = 0.0,
    init: str = "orthogonal",
    seed: int = 0,
    readout: str = "final",
    kernels: str = "reference",
) -> Case:
    tokens = kind != "series"
    architecture = Architecture(
        cell=cell,
        input_size=V if tokens else D,
        tokens=tokens,
        embedding_size=E if kind == "embedding" else None,
        hidden_size=H,
        num_layers=layers,
        bidirectional=bidirectional,
        dropout=dropout,
        outputs=outputs,
        dtype=dtype,
        init=init,
        readout=readout,
    )
    rng = np.random.default_rng(seed)
    model = Model(architecture, CPU, kernels, rng)
    for values in model.parameters.values():
        values += rng.normal(0, 0.3, values.shape) * (values != 0)  # what is held at zero stays there
        values += rng.normal(0, 0.3, values.shape) * (values.ndim == 1)
    rows = [rng.integers(0, V, n) if tokens else rng.standard_normal((n, D)).astype(dtype) for n in LENGTHS]
    return Case(model, rows, rng.integers(0, max(outputs, 2), len(rows)).tolist())


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=list(cells.CELLS))
def cell(request: pytest.FixtureRequest) -> str:
    return str(request.param)


STACKS = pytest.mark.parametrize(("layers", "bidirectional"), [(1, False), (1, True), (2, False), (2, True)])


# ---------------------------------------------------------------- forward


@STACKS
@pytest.mark.parametrize("outputs", [1, 3])
def test_logits_are_those_of_plain_loops(kind, cell, layers, bidirectional, outputs, dtype):
    case = make(kind, cell, layers, bidirectional, outputs, dtype)
    expected = truth.logits(cell, case.parameters, case.rows)
    assert relative_error(case.model.logits(case.batch()), expected) < FORWARD[dtype]
    assert relative_error(case.model.forward(case.batch(), np.random.default_rng(0))[0], expected) < FORWARD[dtype]
    assert case.model.logits(case.batch()).dtype == dtype


@STACKS
def test_the_final_valid_step_of_a_ragged_batch_is_that_of_each_row_alone(kind, cell, layers, bidirectional):
    case = make(kind, cell, layers, bidirectional)
    alone = [case.model.logits(case._replace(rows=[row]).batch())[0] for row in case.rows]
    assert relative_error(case.model.logits(case.batch()), np.stack(alone)) < FORWARD["float64"]


@STACKS
def test_what_stands_in_the_padding_never_matters(kind, cell, layers, bidirectional):
    case = make(kind, cell, layers, bidirectional)
    found = []
    for garbage in (0, V - 1 if kind != "series" else np.nan):
        batch = case.batch(garbage)
        found.append({"logits": case.model.logits(batch), **case.backward(batch)})
    for name, values in found[0].items():
        np.testing.assert_array_equal(values, found[1][name], err_msg=name)


def test_the_order_of_the_rows_is_that_of_the_logits(kind):
    case = make(kind)
    turned = case._replace(rows=case.rows[::-1])
    np.testing.assert_allclose(case.model.logits(case.batch())[::-1], case.model.logits(turned.batch()), rtol=1e-12)


@pytest.mark.parametrize("layers", [1, 2])
def test_a_sequence_in_parts_is_the_whole(kind, cell, layers):
    case = make(kind, cell, layers, bidirectional=False)
    whole = case.model.logits(case._replace(rows=case.rows[2:3]).batch())
    state = None
    for part in (case.rows[2][:1], case.rows[2][1:]):
        logits, state = case.model.continued(case._replace(rows=[part]).batch(), state)
    assert relative_error(logits, whole) < FORWARD["float64"]


# ---------------------------------------------------------------- backward


@pytest.mark.parametrize(("layers", "bidirectional", "outputs"), [(1, False, 3), (2, True, 1)])
def test_gradients_are_those_of_complex_steps(kind, cell, layers, bidirectional, outputs):
    case = make(kind, cell, layers, bidirectional, outputs)
    weights = np.array([0.5, 2.0, 0.25, 1.0])
    expected = truth.complex_step_gradients(cell, case.parameters, case.rows, case.labels, weights)
    check(gradient_errors(case.backward(case.batch(), weights), expected), GRADIENTS["float64"])
    # The faster truth, by which whole trainings are judged, is the same.
    check(gradient_errors(truth.gradients(cell, case.parameters, case.rows, case.labels, weights), expected), 1e-11)


@STACKS
def test_gradients_in_either_precision(kind, cell, layers, bidirectional, dtype):
    case = make(kind, cell, layers, bidirectional, dtype=dtype)
    weights = np.array([0.5, 2.0, 0.25, 1.0])
    expected = truth.gradients(cell, case.parameters, case.rows, case.labels, weights)
    found = case.backward(case.batch(), weights)
    check(gradient_errors(found, expected), GRADIENTS[dtype])
    assert {values.dtype for values in found.values()} == {np.dtype(dtype)}


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_gradients_are_those_of_central_differences(kind, dropout):
    """Of the library's own forward pass, with one and the same dropout mask: between the layers and before the head."""
    case = make(kind, dropout=dropout, seed=1)
    batch, labels = case.batch(), np.array(case.labels)

    def loss() -> float:
        logits, _ = case.model.forward(batch, np.random.default_rng(7))
        return float(truth.row_losses(logits, labels).mean())

    logits, tape = case.model.forward(batch, np.random.default_rng(7))
    _, d_logits = truth.cross_entropy(logits, labels, np.ones(len(labels)))
    case.model.backward(tape, d_logits)
    expected = {}
    for name, values in case.model.parameters.items():
        expected[name] = np.zeros(values.shape)
        for index in np.ndindex(*values.shape):
            before = values[index]
            values[index] = before + 1e-5
            above = loss()
            values[index] = before - 1e-5
            expected[name][index] = (above - loss()) / 2e-5
            values[index] = before
    expected = truth._unknown_held(expected, case.rows)
    check(gradient_errors(case.model.gradients, expected), 1e-6)


def test_gradients_are_of_the_last_call_alone(kind):
    case = make(kind)
    first = case.backward(case.batch())
    second = case.backward(case.batch())
    for name, values in first.items():
        np.testing.assert_array_equal(values, second[name], err_msg=name)


def test_a_tape_belongs_to_its_forward_call(kind):
    case, rng = make(kind), np.random.default_rng(0)
    expected = case.backward(case.batch())
    logits, tape = case.model.forward(case.batch(), rng)
    _, d_logits = truth.cross_entropy(logits, np.array(case.labels), np.ones(len(case.rows)))
    other = case._replace(rows=case.rows[:2])
    case.model.forward(other.batch(), rng)
    case.model.logits(other.batch())
    case.model.backward(tape, d_logits)
    for name, values in expected.items():
        np.testing.assert_array_equal(values, case.model.gradients[name], err_msg=name)


# ---------------------------------------------------------------- dropout


def test_dropout_is_drawn_from_the_generator_and_absent_from_inference(kind):
    case, quiet = make(kind, dropout=0.5), make(kind, dropout=0.0)
    batch = case.batch()
    np.testing.assert_array_equal(case.model.logits(batch), quiet.model.logits(batch))
    drawn = [case.model.forward(batch, np.random.default_rng(seed))[0] for seed in (1, 1, 2)]
    np.testing.assert_array_equal(drawn[0], drawn[1])
    assert not np.array_equal(drawn[0], drawn[2])


def test_dropout_keeps_the_mean():
    """With one layer it is before the head alone, where it is linear: the mean of the logits is that without it."""
    case = make("series", layers=1, dropout=0.4)
    batch, rng = case.batch(), np.random.default_rng(0)
    drawn = np.stack([case.model.forward(batch, rng)[0] for _ in range(800)])
    error = (drawn.mean(axis=0) - case.model.logits(batch)) / (drawn.std(axis=0) / 800**0.5)
    assert drawn.std() > 0
    assert np.abs(error).max() < 4.5  # standard errors; 12 numbers


# ---------------------------------------------------------------- the unknown token


@pytest.mark.parametrize("init", ["orthogonal", "pytorch"])
@pytest.mark.parametrize("kind", ["one-hot", "embedding"])
def test_the_unknown_token_acts_as_zeros_from_the_start(kind, cell, init):
    case = make(kind, cell, init=init)
    parameters = case.parameters
    unknown = [np.zeros(n, np.int64) for n in LENGTHS]
    # The oracle on series of zeros: it knows nothing of tokens.
    without = {name: values for name, values in parameters.items() if name != "embedding.weight"}
    width = parameters["recurrent.weight_ih_l0"].shape[1]
    expected = truth.logits(cell, without, [np.zeros((n, width)) for n in LENGTHS])
    assert relative_error(case.model.logits(case._replace(rows=unknown).batch()), expected) < FORWARD["float64"]


@pytest.mark.parametrize("kind", ["one-hot", "embedding"])
def test_the_unknown_token_gets_no_gradient_where_it_occurs(kind, cell):
    case = make(kind, cell)
    found = case._replace(rows=[np.array([0, 1, 0]), np.array([0]), np.array([2, 0]), np.array([3])])
    gradients = found.backward(found.batch(0))
    if kind == "embedding":
        assert (gradients["embedding.weight"][0] == 0).all()
        assert (gradients["embedding.weight"][1:] != 0).any()
    for name in [name for name in gradients if "weight_ih_l0" in name]:
        assert kind == "embedding" or (gradients[name][:, 0] == 0).all(), name
        assert (gradients[name][:, 1] != 0).any(), name


# ---------------------------------------------------------------- one buffer


def assert_one_buffer(model: Model) -> None:
    for own, layers in ((model.parameters, model.stack.parameters), (model.gradients, model.stack.gradients)):
        assert own.flat.flags.c_contiguous
        assert own.flat.size == sum(view.size for view in own.values())
        start = own.flat.__array_interface__["data"][0]
        for view in own.values():
            assert view.__array_interface__["data"][0] == start
            start += view.nbytes
        for name, view in layers.items():
            assert view.__array_interface__["data"] == own[f"recurrent.{name}"].__array_interface__["data"], name


def assert_trains(model: Model, batch: Batch, labels: list[int]) -> None:
    """A step down the gradient, written to the buffer, moves every array, and the loss by what the gradient says."""
    before = {name: np.array(view) for name, view in model.parameters.items()}
    logits, tape = model.forward(batch, np.random.default_rng(0))
    loss, d_logits = truth.cross_entropy(logits, np.array(labels), np.ones(len(labels)))
    model.backward(tape, d_logits)
    model.parameters.flat[...] -= 1e-6 * model.gradients.flat
    again, _ = truth.cross_entropy(model.logits(batch), np.array(labels), np.ones(len(labels)))
    expected = 1e-6 * float(model.gradients.flat @ model.gradients.flat)
    assert float(loss - again) == pytest.approx(expected, rel=1e-3)
    assert all((view != before[name]).any() for name, view in model.parameters.items())


def test_all_parameters_are_views_of_one_buffer(kind):
    case = make(kind)
    assert_one_buffer(case.model)
    assert_trains(case.model, case.batch(), case.labels)
    names = list(case.model.parameters)
    assert ("embedding.weight" in names) == (kind == "embedding")
    assert {"recurrent.weight_ih_l0", "recurrent.bias_l1_reverse", "head.weight", "head.bias"} <= set(names)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_copies_and_pickles_are_whole_models_on_a_buffer_of_their_own(kind, copied):
    case = make(kind)
    before = case.model.logits(case.batch())
    twin = copied(case.model)
    np.testing.assert_array_equal(twin.logits(case.batch()), before)
    assert_one_buffer(twin)
    assert_trains(twin, case.batch(), case.labels)
    np.testing.assert_array_equal(case.model.logits(case.batch()), before)


def test_to_gives_a_copy(kind):
    case = make(kind)
    before = case.model.logits(case.batch())
    twin = case.model.to(CPU)
    np.testing.assert_array_equal(twin.logits(case.batch()), before)
    assert_one_buffer(twin)
    twin.parameters.flat[...] = 0
    np.testing.assert_array_equal(case.model.logits(case.batch()), before)


def test_parameters_count_as_they_were_last_written(kind):
    case = make(kind)
    case.model.logits(case.batch())
    case.model.write(0.5 * case.model.read())
    expected = truth.logits(case.cell, case.parameters, case.rows)
    assert relative_error(case.model.logits(case.batch()), expected) < FORWARD["float64"]


def test_read_is_a_copy():
    case = make()
    values = case.model.read()
    case.model.parameters.flat[...] = 0
    assert (values != 0).any()


def test_the_penalty_is_on_weights_and_not_on_biases(kind):
    case = make(kind)
    start = 0
    for name, view in case.model.parameters.items():
        part = case.model.decayed()[start : start + view.size]
        assert (part == (0 if "bias" in name else 1)).all(), name
        start += view.size


# ---------------------------------------------------------------- the start


def fresh(seed: int, init: str = "orthogonal", hidden: int = 16) -> Model:
    architecture = Architecture("lstm", V, True, 8, hidden, 1, True, 0.0, 3, "float64", init)
    return Model(architecture, CPU, "reference", np.random.default_rng(seed))


@pytest.mark.parametrize("init", ["orthogonal", "pytorch"])
def test_the_start_comes_from_the_generator(init):
    np.testing.assert_array_equal(fresh(3, init).read(), fresh(3, init).read())
    assert not np.array_equal(fresh(3, init).read(), fresh(4, init).read())


def test_the_orthogonal_start():
    model = fresh(0)
    for suffix in ("l0", "l0_reverse"):
        gates = model.parameters[f"recurrent.weight_hh_{suffix}"].reshape(4, 16, 16)
        for gate in gates:
            np.testing.assert_allclose(gate @ gate.T, np.eye(16), atol=1e-12)
        np.testing.assert_array_equal(model.parameters[f"recurrent.bias_{suffix}"].reshape(4, 16)[1], 1)
    weight = model.parameters["head.weight"]  # Glorot and Bengio (2010): ±√(6 / (in + out))
    assert np.abs(weight).max() <= (6 / (32 + 3)) ** 0.5
    assert weight.std() == pytest.approx((6 / (32 + 3)) ** 0.5 / 3**0.5, rel=0.25)
    assert (model.parameters["head.bias"] == 0).all()


def test_the_start_of_pytorch():
    model = fresh(0, "pytorch")
    assert np.abs(model.parameters["recurrent.weight_hh_l0"]).max() <= 16**-0.5
    assert np.abs(model.parameters["head.weight"]).max() <= 32**-0.5


# ---------------------------------------------------------------- the public check of gradients


FITTED = {
    "characters": ({"num_layers": 2, "bidirectional": True, "hidden_size": 2}, truth.last_letter(6)),
    "words": ({"embedding_size": 3, "cell": "rnn"}, ([["to", "be"], ["or"], ["not", "to"], ["be"]], list("abab"))),
    "series": ({"dropout": 0.3}, truth.sign_of_sum(12)),
    "array": ({"hidden_size": 5}, truth.raised_channel(6)),
}


@pytest.mark.parametrize("name", FITTED)
def test_check_gradients_passes_for_every_kind_of_classifier(name):
    settings, (X, y) = FITTED[name]
    clf = xlstm.SequenceClassifier(**{"hidden_size": 4, "max_iter": 1, "random_state": 0, **settings}).fit(X, y)
    before = truth.whole_state(clf)
    for report in (xlstm.check_gradients(clf), xlstm.check_gradients(clf, (X, y), seed=3)):
        assert report.passed
        assert {entry.name for entry in report.entries} == set(truth.parameters_of(clf))
    assert truth.whole_state(clf) == before


def test_check_gradients_catches_a_bias_whose_gradient_is_doubled(monkeypatch):
    X, y = truth.last_letter(12)
    clf = xlstm.SequenceClassifier(hidden_size=4, max_iter=1, random_state=0).fit(X, y)
    right = head.backward

    def doubled(*arguments, into):
        d_features, d_params = right(*arguments, into=into)
        into["bias"][...] *= 2
        return d_features, d_params

    monkeypatch.setattr(head, "backward", doubled)
    with pytest.raises(AssertionError, match=r"WRONG head\.bias"):
        xlstm.check_gradients(clf)


# ---------------------------------------------------------------- batches


def test_rows_reach_the_model_unpadded(kind):
    """From the rows one after another, as training keeps them, in any choice and order."""
    case = make(kind)
    encoded = Encoded.of(np.concatenate(case.rows), np.array([len(row) for row in case.rows]))
    for chosen in ([0, 1, 2, 3], [2, 0], [3], [1, 1]):
        ((_, _, batch),) = Feed(case.model, encoded).batches([np.array(chosen)])
        expected = truth.logits(case.cell, case.parameters, [case.rows[k] for k in chosen])
        assert relative_error(case.model.logits(batch), expected) < FORWARD["float64"]


# ---------------------------------------------------------------- readouts


def pooled(case: Case, row: Any) -> Any:
    """What the head sees of one row alone, in plain loops over the oracle's outputs; parts side by side."""
    recurrent = {n.removeprefix("recurrent."): v for n, v in case.parameters.items() if n.startswith("recurrent.")}
    architecture = case.model.architecture
    x = row[None] if row.ndim == 2 else case.parameters["embedding.weight"][row][None]
    outputs = oracle.forward(architecture.cell, recurrent, x).outputs[0]  # (T, F)
    S = architecture.sizes.directions

    def of(part: str) -> Any:
        if part == "final":  # of the reverse direction, what it gives at the first step
            return np.concatenate([half[-1 if k == 0 else 0] for k, half in enumerate(np.split(outputs, S, axis=1))])
        if part == "mean":
            return outputs.mean(axis=0)
        if part == "max":
            return outputs.max(axis=0)
        scores = np.exp(outputs @ case.parameters["readout.query"])
        return (scores[:, None] * outputs).sum(axis=0) / scores.sum()

    return np.concatenate([of(part) for part in architecture.readout.split("+")])


@pytest.mark.parametrize("readout", ["mean", "max", "attention", "final+max", "final+mean+max"])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("kind", ["series", "embedding"])
def test_pooled_logits_and_gradients(kind, cell, bidirectional, readout, kernels):
    """Against the oracle's outputs row by row, and against finite differences of them."""
    case = make(kind, cell, 2, bidirectional, readout=readout, kernels=kernels)
    case.model.parameters.flat[...] *= 0.7
    head = case.parameters["head.weight"], case.parameters["head.bias"]
    expected = np.stack([head[0] @ pooled(case, row) + head[1] for row in case.rows])
    assert relative_error(case.model.logits(case.batch()), expected) < FORWARD["float64"]
    logits, tape = case.model.forward(case.batch(), np.random.default_rng(0))
    assert relative_error(logits, expected) < FORWARD["float64"]

    rng = np.random.default_rng(3)
    d_logits = rng.standard_normal(logits.shape)
    case.model.backward(tape, d_logits)
    gradient, flat = case.model.gradients.flat.copy(), case.model.parameters.flat
    for _ in range(4):
        direction = rng.standard_normal(flat.shape)
        if case.model.architecture.tokens:  # the unknown token stays where it is
            direction[: case.parameters["embedding.weight"].shape[1]] = 0
        before, losses = flat.copy(), []
        for sign in (1, -1):
            flat[...] = before + sign * 1e-5 * direction
            weight, bias = case.parameters["head.weight"], case.parameters["head.bias"]
            losses.append(np.sum(d_logits * [weight @ pooled(case, row) + bias for row in case.rows]))
        flat[...] = before
        assert abs((losses[0] - losses[1]) / 2e-5 - gradient @ direction) < 1e-6 * np.linalg.norm(gradient)


def test_a_logit_at_every_step(cell):
    """A head over every step: the logits of the last valid one are those of the final readout."""
    every, final = (make("series", cell, 1, False, readout=readout, seed=2) for readout in ("steps", "final"))
    logits = every.model.logits(every.batch())
    lengths = [len(row) for row in every.rows]
    assert logits.shape == (len(lengths), max(lengths), 3)
    last = logits[np.arange(len(lengths)), np.array(lengths) - 1]
    np.testing.assert_allclose(last, final.model.logits(final.batch()), rtol=1e-12)
    made, tape = every.model.forward(every.batch(), np.random.default_rng(0))
    d_logits = np.zeros_like(made)
    d_logits[np.arange(len(lengths)), np.array(lengths) - 1] = 1
    every.model.backward(tape, d_logits)
    _, tape = final.model.forward(final.batch(), np.random.default_rng(0))
    final.model.backward(tape, np.ones((len(lengths), 3)))
    assert relative_error(every.model.gradients.flat, final.model.gradients.flat) < GRADIENTS["float64"]
