"""The readouts: against plain loops, against finite differences, and in parts; on every array library."""

import contextlib
from typing import Any

import numpy as np
import pytest

from xlstm.readout import READOUTS, Beside, Readout, Seen

from ..conftest import Library
from ..measure import FORWARD, GRADIENTS, relative_error

N, T, F = 4, 6, 5
LENGTHS = [3, 6, 1, 4]
POOLED = ("mean", "max", "attention")
BESIDE = ("final+max", "final+mean+max")


class Case:
    """Outputs of N rows, what a readout makes of them in plain loops, and a gradient that comes back."""

    def __init__(self, name: str, lengths: list[int] | None, dtype: str = "float64", seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self.name, self.dtype, self.lengths = name, dtype, [T] * N if lengths is None else lengths
        self.ragged = lengths is not None
        self.outputs = rng.standard_normal((N, T, F)).astype(dtype)
        self.query = rng.standard_normal(F).astype(dtype)
        self.valid = np.arange(T) < np.array(self.lengths)[:, None]
        self.outputs[~self.valid] = 0
        width = F * len(name.split("+"))
        self.d_features = rng.standard_normal((N, T, F) if name == "steps" else (N, width)).astype(dtype)

    def seen(self, library: Library, outputs: Any = None) -> Seen:
        values = library.asarray(self.outputs if outputs is None else outputs, self.dtype)
        finals = [library.asarray(half, self.dtype) for half in self.finals()]
        return Seen(values, finals, library.asarray(self.valid) if self.ragged else None)

    def finals(self) -> list[Any]:
        """Two directions of 3 and 2 features would be odd; one of all."""
        return [self.outputs[np.arange(N), np.array(self.lengths) - 1]]

    def params(self, library: Library, query: Any = None) -> dict[str, Any]:
        if self.name != "attention":
            return {}
        return {"query": library.asarray(self.query if query is None else query, self.dtype)}

    def expected(self, outputs: Any = None, query: Any = None) -> Any:
        """Row by row, over the valid steps alone; parts side by side."""
        return np.concatenate([self.of(part, outputs, query) for part in self.name.split("+")], axis=1)

    def of(self, name: str, outputs: Any, query: Any) -> Any:
        """One readout's."""
        outputs = np.asarray(self.outputs if outputs is None else outputs, np.float64)
        query = np.asarray(self.query if query is None else query, np.float64)
        rows = []
        for row, length in zip(outputs, self.lengths, strict=True):
            steps = row[:length]
            if name == "final":
                rows.append(steps[-1])
            elif name == "steps":
                rows.append(np.concatenate([steps, np.zeros((T - length, F))]))
            elif name == "mean":
                rows.append(sum(steps) / length)
            elif name == "max":
                rows.append(np.array([max(column) for column in steps.T]))
            else:
                scores = np.exp([float(step @ query) for step in steps])
                rows.append(sum(score * step for score, step in zip(scores, steps, strict=True)) / scores.sum())
        return np.stack(rows)


@pytest.fixture(params=[None, LENGTHS, [5, 2, 2, 1]], ids=["full", "ragged", "all short"])
def lengths(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.mark.parametrize("name", READOUTS)
def test_features_are_those_of_plain_loops(name, lengths, xp, dtype):
    case = Case(name, lengths, dtype)
    features, _ = READOUTS[name].forward(case.params(xp), case.seen(xp))
    assert relative_error(xp.to_host(features), case.expected()) < FORWARD[dtype]
    assert str(xp.to_host(features).dtype) == dtype


@pytest.mark.parametrize("name", READOUTS)
def test_width_and_parameters_are_told_beforehand(name, xp):
    """They are those of the features, and of the parameters that `forward` reads and `backward` differentiates."""
    case, readout = Case(name, None), READOUTS[name]
    features, saved = readout.forward(case.params(xp), case.seen(xp))
    assert readout.width(F) == features.shape[-1]
    assert readout.each_step == (features.ndim == 3)
    read = True
    with contextlib.suppress(Exception):
        found, _ = readout.forward(case.params(xp), case.seen(xp)._replace(outputs=None))
        read = found is None
    assert readout.needs_outputs == read
    _, d_params = readout.backward(case.params(xp), saved, xp.asarray(case.d_features))
    assert readout.shapes(F) == {name: tuple(gradient.shape) for name, gradient in d_params.items()}
    assert readout.shapes(F) == {name: tuple(values.shape) for name, values in case.params(xp).items()}


@pytest.mark.parametrize("name", ["steps", *POOLED, *BESIDE])
def test_gradients_are_those_of_finite_differences(name, lengths, xp):
    case = Case(name, lengths)
    params = case.params(xp)
    _, saved = READOUTS[name].forward(params, case.seen(xp))
    gradient, d_params = READOUTS[name].backward(params, saved, xp.asarray(case.d_features))
    assert (gradient.finals is None) == (name not in BESIDE)
    found = np.array(xp.to_host(gradient.outputs))
    if gradient.finals is not None:  # in these cases the finals are the last valid outputs
        found[np.arange(N), np.array(case.lengths) - 1] += xp.to_host(gradient.finals[0])

    def measured(values: Any, loss: Any) -> Any:
        found = np.zeros(values.shape)
        for index in np.ndindex(*values.shape):
            up, down = values.copy(), values.copy()
            up[index] += 1e-6
            down[index] -= 1e-6
            found[index] = (loss(up) - loss(down)) / 2e-6
        return found

    d_outputs = measured(case.outputs, lambda moved: np.sum(case.d_features * case.expected(outputs=moved)))
    assert relative_error(found, d_outputs) < 1e-8
    assert not found[~case.valid].any()
    if name == "attention":
        d_query = measured(case.query, lambda moved: np.sum(case.d_features * case.expected(query=moved)))
        assert relative_error(xp.to_host(d_params["query"]), d_query) < 1e-8
    else:
        assert not d_params


@pytest.mark.parametrize("name", ["steps", *POOLED, *BESIDE])
def test_gradients_keep_their_digits_in_float32(name, lengths, xp):
    exact, rounded = Case(name, lengths), Case(name, lengths, "float32")
    found = []
    for case in (exact, rounded):
        params = case.params(xp)
        _, saved = READOUTS[name].forward(params, case.seen(xp))
        gradient, d_params = READOUTS[name].backward(params, saved, xp.asarray(case.d_features))
        found.append([xp.to_host(gradient.outputs), *(xp.to_host(d) for d in d_params.values())])
    for wide, narrow in zip(*found, strict=True):
        assert narrow.dtype == "float32"
        assert relative_error(narrow, wide) < GRADIENTS["float32"]


def test_the_final_step_of_two_directions_is_each_ones_own(xp):
    forward_h, reverse_h = np.arange(8.0).reshape(4, 2), np.arange(8.0, 16).reshape(4, 2)
    seen = Seen(None, [xp.asarray(forward_h), xp.asarray(reverse_h)], None)
    features, saved = READOUTS["final"].forward({}, seen)
    np.testing.assert_array_equal(xp.to_host(features), np.concatenate([forward_h, reverse_h], axis=1))
    gradient, _ = READOUTS["final"].backward({}, saved, features)
    np.testing.assert_array_equal(xp.to_host(gradient.finals[0]), forward_h)
    np.testing.assert_array_equal(xp.to_host(gradient.finals[1]), reverse_h)
    assert gradient.outputs is None


def test_of_equal_steps_the_first_is_the_largest(xp):
    outputs = xp.asarray(np.ones((1, 3, 1)))
    _, saved = READOUTS["max"].forward({}, Seen(outputs, [], None))
    gradient, _ = READOUTS["max"].backward({}, saved, xp.asarray(np.ones((1, 1))))
    np.testing.assert_array_equal(xp.to_host(gradient.outputs)[0, :, 0], [1, 0, 0])


def test_a_query_of_zero_attends_to_all_alike(lengths, xp):
    case = Case("attention", lengths)
    features, _ = READOUTS["attention"].forward({"query": xp.asarray(np.zeros(F))}, case.seen(xp))
    mean, _ = READOUTS["mean"].forward({}, case.seen(xp))
    assert relative_error(xp.to_host(features), xp.to_host(mean)) < 1e-14


@pytest.mark.parametrize("size", [1e3, 1e5])
def test_attention_of_large_scores_does_not_overflow(size, xp):
    case = Case("attention", LENGTHS)
    features, saved = READOUTS["attention"].forward({"query": xp.asarray(size * case.query)}, case.seen(xp))
    gradient, d_params = READOUTS["attention"].backward(
        {"query": xp.asarray(size * case.query)}, saved, xp.asarray(case.d_features)
    )
    for array in (features, gradient.outputs, d_params["query"]):
        assert np.isfinite(xp.to_host(array)).all()
    winners = [np.argmax(row[:length] @ case.query) for row, length in zip(case.outputs, LENGTHS, strict=True)]
    np.testing.assert_allclose(xp.to_host(features), case.outputs[np.arange(N), winners], rtol=1e-6)


@pytest.mark.parametrize("name", ["final", *POOLED, *BESIDE])
@pytest.mark.parametrize("cuts", [[6], [1, 5], [2, 2, 2], [1] * 6])
def test_a_sequence_in_parts_gives_what_it_gives_as_a_whole(name, cuts, xp):
    case = Case(name, None)
    params = case.params(xp)
    whole, _ = READOUTS[name].forward(params, case.seen(xp))
    carry, begin = None, 0
    for length in cuts:
        part = xp.asarray(case.outputs[:, begin : begin + length])
        last = xp.asarray(case.outputs[:, begin + length - 1])
        features, carry = READOUTS[name].carried(params, carry, Seen(part, [last], None))
        begin += length
    assert relative_error(xp.to_host(features), xp.to_host(whole)) < 1e-14


def test_parameters_of_one_of_several_side_by_side(lengths, xp):
    """What each of them gives alone, of its own part of the gradient."""
    case, parts = Case("attention", lengths), [READOUTS["final"], READOUTS["attention"]]
    params, both = case.params(xp), Beside(*parts)
    assert both.shapes(F) == {"query": (F,)}
    assert both.width(F) == 2 * F
    d_features = np.concatenate([case.d_features, case.d_features[::-1]], axis=1)
    _, saved = both.forward(params, case.seen(xp))
    _, d_params = both.backward(params, saved, xp.asarray(d_features))
    _, saved = parts[1].forward(params, case.seen(xp))
    _, expected = parts[1].backward(params, saved, xp.asarray(np.ascontiguousarray(d_features[:, F:])))
    np.testing.assert_array_equal(xp.to_host(d_params["query"]), xp.to_host(expected["query"]))


def test_of_two_that_read_the_final_states_the_gradients_are_added(xp):
    """And of two that read the outputs; in each direction."""
    final, mean = READOUTS["final"], READOUTS["mean"]
    halves = [np.arange(6.0).reshape(3, 2), np.arange(6.0, 12).reshape(3, 2)]
    outputs, d_features = np.ones((3, 5, 4)), np.random.default_rng(0).standard_normal((3, 16))
    both = Beside(final, mean, final, mean)
    _, saved = both.forward({}, Seen(xp.asarray(outputs), [xp.asarray(half) for half in halves], None))
    gradient, _ = both.backward({}, saved, xp.asarray(d_features))
    d_finals, d_mean = d_features[:, :4] + d_features[:, 8:12], d_features[:, 4:8] + d_features[:, 12:]
    assert len(gradient.finals) == 2
    for found, expected in zip(gradient.finals, (d_finals[:, :2], d_finals[:, 2:]), strict=True):
        np.testing.assert_allclose(xp.to_host(found), expected, rtol=1e-14)
    expected = np.broadcast_to(d_mean[:, None, :] / 5, outputs.shape)
    np.testing.assert_allclose(xp.to_host(gradient.outputs), expected, rtol=1e-14)
    assert both.needs_outputs
    assert not Beside(final, final).needs_outputs


@pytest.mark.parametrize("rise", [6.0, -6.0])
def test_attention_in_parts_keeps_its_digits_where_the_largest_score_changes(rise):
    """What rounding has taken from the sums is scaled as they are: steps in float32, against all of them in float64."""
    rng = np.random.default_rng(0)
    outputs = rng.uniform(0.1, 0.2, (1, 1200, 2)).astype("float32")
    outputs[0, 1000:, 0] += np.float32(rise)  # the query reads the first feature
    query, carry = np.array([1.0, 0.0], "float32"), None
    for t in range(outputs.shape[1]):
        step = Seen(outputs[:, t : t + 1], [], None)
        features, carry = READOUTS["attention"].carried({"query": query}, carry, step)
    wide = outputs.astype(float)
    expected, _ = READOUTS["attention"].forward({"query": query.astype(float)}, Seen(wide, [], None))
    assert relative_error(features, expected) < 4e-7


def test_every_step_of_a_sequence_in_parts_is_its_own(xp):
    case, carry, found = Case("steps", None), None, []
    for begin in range(0, T, 2):
        part = xp.asarray(case.outputs[:, begin : begin + 2])
        features, carry = READOUTS["steps"].carried({}, carry, Seen(part, [], None))
        found.append(xp.to_host(features))
    np.testing.assert_array_equal(np.concatenate(found, axis=1), case.expected())


def test_the_contract_has_no_answers_of_its_own():
    seen = Seen(np.zeros((1, 2, 3)), [], None)
    for call in (
        lambda: Readout().forward({}, seen),
        lambda: Readout().backward({}, None, np.zeros((1, 3))),
        lambda: Readout().carried({}, None, seen),
    ):
        with pytest.raises(NotImplementedError):
            call()


@pytest.mark.parametrize("name", ["mean", "attention"])
def test_a_long_sequence_keeps_its_digits_in_float32(name, xp):
    """Of a constant the mean is the constant, however many steps there are and in whatever parts they come."""
    T = 200_000
    params = {"query": xp.asarray(np.zeros(2), "float32")} if name == "attention" else {}
    outputs = xp.asarray(np.full((1, T, 2), 0.1), "float32")
    features, _ = READOUTS[name].forward(params, Seen(outputs, [], None))
    assert relative_error(xp.to_host(features), np.full((1, 2), np.float32(0.1))) < 1e-6
    part, carry = xp.asarray(np.full((1, 1, 2), 0.1), "float32"), None
    for _ in range(3000 if xp.name.startswith("numpy") else 100):
        features, carry = READOUTS[name].carried(params, carry, Seen(part, [], None))
    assert relative_error(xp.to_host(features), np.full((1, 2), np.float32(0.1))) < 1e-6
