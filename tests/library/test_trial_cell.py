"""Cells that the library does not have, registered by a test alone: what a new cell needs, and that it is enough."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import xlstm
from xlstm import cells
from xlstm.cells.sequence import Order, check_lengths
from xlstm.namespace import array_namespace, sigmoid
from xlstm.recurrent import RecurrentLayer

from ..classifier import last_letter, parameters_of, sign_of_sum

# A peephole LSTM (Gers, Schraudolph and Schmidhuber, "Learning Precise Timing with LSTM Recurrent Networks", 2002): i
# and f also see the cell before the step, o the one after it, each through weights of its own.


def step(xp: Any, p: Any, z: Any, state: Any) -> Any:
    _, c = state
    H = c.shape[1]
    i = sigmoid(xp, z[:, :H] + p["peephole"][0, :] * c)
    f = sigmoid(xp, z[:, H : 2 * H] + p["peephole"][1, :] * c)
    g = xp.tanh(z[:, 2 * H : 3 * H])
    c_new = f * c + i * g
    o = sigmoid(xp, z[:, 3 * H :] + p["peephole"][2, :] * c_new)
    z[...] = xp.concat([i, f, g, o], axis=1)
    return o * xp.tanh(c_new), c_new


def step_backward(xp: Any, p: Any, gates: Any, before: Any, after: Any, d_after: Any, dz: Any) -> Any:
    (_, c), (_, c_new), (dh, dc) = before, after, d_after
    H = c.shape[1]
    i, f, g, o = (gates[:, k * H : (k + 1) * H] for k in range(4))
    dz[:, 3 * H :] = dh * xp.tanh(c_new) * o * (1 - o)
    dc = dc + dh * o * (1 - xp.tanh(c_new) ** 2) + dz[:, 3 * H :] * p["peephole"][2, :]
    dz[:, :H] = dc * g * i * (1 - i)
    dz[:, H : 2 * H] = dc * c * f * (1 - f)
    dz[:, 2 * H : 3 * H] = dc * i * (1 - g**2)
    return None, dc * f + dz[:, :H] * p["peephole"][0, :] + dz[:, H : 2 * H] * p["peephole"][1, :]


def own_gradients(xp: Any, p: Any, gates: Any, dz: Any, before: Any, after: Any, first: Any) -> Any:
    H, start = p["peephole"].shape[1], first[1]
    di, df, do = (dz[:, :, k * H : (k + 1) * H] for k in (0, 1, 3))
    c, c_new = before[1][start:], after[1]
    products = (di[start:] * c, df[start:] * c, do * c_new)
    return {"peephole": xp.stack([xp.sum(product, axis=(0, 1)) for product in products])}


PEEPHOLE = cells.Cell(
    "peephole",
    gates=("i", "f", "g", "o"),
    states=("h", "c"),
    step=step,
    step_backward=step_backward,
    start_bias=cells.lstm.start_bias,
    more_parameters=lambda H: {"peephole": (3, H)},
    own_gradients=own_gradients,
)


class Peephole(RecurrentLayer):
    """The cell as a layer."""

    cell = "peephole"


@pytest.fixture(autouse=True)
def registered() -> Iterator[None]:
    known = dict(cells.CELLS)
    cells.register(PEEPHOLE)
    cells.register(DECAY)
    cells.register(COUNTING)
    yield
    cells.CELLS.clear()
    cells.CELLS.update(known)


@pytest.mark.parametrize("options", [{}, {"num_layers": 2, "bidirectional": True}])
def test_its_gradients_are_right(options):
    layer = Peephole(3, 4, seed=0, device="cpu", **options)
    for view in layer.parameters.values():
        view += np.random.default_rng(1).normal(0, 0.3, view.shape)
    report = xlstm.check_gradients(layer)
    assert any("peephole" in entry.name for entry in report.entries)


@pytest.mark.parametrize("lengths", [[3, 1], None])
def test_NaN_of_a_single_step_has_no_product_with_a_state_that_nobody_gave(lengths):
    """The peepholes of i and f see the cell before the step, that of o the one after it."""
    layer = Peephole(3, 4, seed=0, device="cpu")
    x = np.ones((2, 3 if lengths else 1, 3), np.float32)
    x[1, 0, 0] = np.nan

    def gradient(state):
        _, _, tape = layer.forward(x, state, lengths)
        layer.backward(tape, np.ones((*x.shape[:2], 4)))
        return layer.gradients["peephole_l0"]

    h, c = np.zeros((2, 1, 2, 4), np.float32)
    for state in (None, (h, None)):
        assert np.isfinite(gradient(state)[:2]).all()
        assert np.isnan(gradient(state)[2]).all()
    for state in ((h, c), (None, c)):
        assert np.isnan(gradient(state)).all()


def test_without_peepholes_it_is_an_lstm():
    ours, plain = Peephole(3, 4, seed=0, device="cpu"), xlstm.LSTM(3, 4, seed=0, device="cpu", kernels="reference")
    x = np.random.default_rng(0).standard_normal((2, 5, 3))
    np.testing.assert_allclose(ours(x, lengths=[5, 2])[0], plain(x, lengths=[5, 2])[0], rtol=1e-6)
    assert ours.kernels == "reference"


@pytest.mark.parametrize("cell", ["peephole", "decay"])
@pytest.mark.parametrize("problem", [last_letter, sign_of_sum])
def test_it_trains_streams_saves_and_loads(cell, problem, tmp_path):
    X, y = problem(80)
    settings = {"hidden_size": 8, "max_iter": 30, "learning_rate_init": 0.02, "random_state": 0, "device": "cpu"}
    clf = xlstm.SequenceClassifier(cell=cell, **settings).fit(X, y)
    assert clf.score(X, y) > 0.9
    xlstm.check_gradients(clf)
    clf.save(tmp_path / "model.xlstm")
    again = xlstm.load(tmp_path / "model.xlstm", device="cpu")
    np.testing.assert_array_equal(again.predict_proba(X), clf.predict_proba(X))
    again.partial_fit(X, y)
    long = max(range(len(X)), key=lambda k: len(X[k]))
    stream = clf.stream()
    for k in range(len(X[long])):
        p = stream.feed(X[long][k : k + 1])
    np.testing.assert_allclose(p, clf.predict_proba([X[long]])[0], rtol=1e-5)
    if cell == "peephole":
        assert parameters_of(clf)["recurrent.peephole_l0"].all()  # they start at zero


@pytest.mark.parametrize("kind", [Peephole, lambda *sizes, **options: Decay(*sizes, **options)])
def test_its_layer_saves_and_loads(kind, tmp_path):
    layer = kind(3, 4, num_layers=2, seed=0, device="cpu")
    layer.save(tmp_path / "layer")
    x = np.random.default_rng(0).standard_normal((2, 5, 3))
    for again in (xlstm.load(tmp_path / "layer"), type(layer).load(tmp_path / "layer")):
        np.testing.assert_array_equal(again(x, lengths=[5, 2])[0], layer(x, lengths=[5, 2])[0])
        assert again.cell == layer.cell
    assert type(again) is type(layer)
    with pytest.raises(ValueError, match=f"a layer of the cell '{layer.cell}', and LSTM.load reads 'lstm' alone"):
        xlstm.LSTM.load(tmp_path / "layer")
    del cells.CELLS[layer.cell]
    with pytest.raises(ValueError, match=f"the cell '{layer.cell}', which is not known here.*register it first"):
        xlstm.load(tmp_path / "layer")


def test_a_name_is_given_once():
    with pytest.raises(ValueError, match="there is a cell 'peephole' already"):
        cells.register(PEEPHOLE)
    with pytest.raises(ValueError, match=r"cell must be one of \('lstm', 'rnn', 'gru'.*'peephole'.*got 'mistake'"):
        cells.by_name("mistake")


# ---------------------------------------------------------------- a cell that is no loop over steps

# h_t = w * h_(t-1) + W·x_t + b, by one product with the powers of w: the loop over time is not needed.


def powers(xp: Any, w: Any, T: int) -> Any:
    """(T, T, H): w ** (t - s) for s <= t, else 0."""
    lag = xp.arange(T)[:, None] - xp.arange(T)[None, :]
    return xp.where(lag[:, :, None] >= 0, w[None, None, :] ** xp.where(lag >= 0, lag, 0)[:, :, None], 0.0)


def decay_forward(
    cell: Any, params: Any, x: Any, state: Any = None, lengths: Any = None, *, tokens: Any = None, keep: bool = True,
    reverse: bool = False, outputs: bool = True, out: Any = None, column: int = 0,
) -> Any:  # fmt: skip
    if tokens is not None:
        ids, table = tokens
        x = (np.eye(params["weight_ih"].shape[1]) if table is None else table)[ids].astype(params["bias"].dtype)
    xp = array_namespace(x)
    N, T = x.shape[:2]
    order = lengths if isinstance(lengths, Order) else Order(xp, check_lengths(lengths, N, T), N, T, x.device)
    walked = order.without_padding(order.time_major(x, reverse))  # (T, N, D)
    z = walked @ params["weight_ih"].T + params["bias"]
    w = xp.tanh(params["weight_hh"][:, 0])
    P = powers(xp, w, order.steps)
    h0 = xp.zeros_like(z[0]) if state is None else order.sort(state)
    start = w ** (xp.arange(order.steps)[:, None] + 1.0)  # (T, H)
    hs = (P[:, :, None, :] * z[None]).sum(axis=1) + start[:, None, :] * h0
    hs = hs.astype(z.dtype)
    last = np.sum([[n > k for n in order.active] for k in range(N)], axis=1) - 1  # of each row, longest first
    final = order.unsort(hs[last, np.arange(N)])
    all_h = order.batch_major(order.without_padding(hs), reverse, out, column) if outputs else None
    return all_h, final, (order, reverse, walked, hs, h0, last, tokens) if keep else None


def decay_backward(
    cell: Any, params: Any, tape: Any, d_outputs: Any = None, d_state: Any = None, input_gradient: bool = True, *,
    into: Any = None, accumulate: bool = True, add_rows: Any = None, state_gradient: bool = True, column: Any = None,
) -> Any:  # fmt: skip
    order, reverse, walked, hs, h0, last, tokens = tape
    T, N, H = hs.shape
    w = np.tanh(params["weight_hh"][:, 0])
    dh = np.zeros_like(hs)
    if d_outputs is not None:
        d_outputs = d_outputs if column is None else d_outputs[:, :, column : column + H]
        dh += order.without_padding(order.time_major(d_outputs, reverse))
    if d_state is not None:
        dh[last, np.arange(N)] += order.sort(d_state)
    dz = (powers(np, w, T)[:, :, None, :] * dh[:, None]).sum(axis=0).astype(hs.dtype)  # (T, N, H)
    before = np.concatenate([h0[None], hs[:-1]])
    d_w = (dz * before).sum(axis=(0, 1)) * (1 - w**2)
    d_weight_hh = np.zeros_like(params["weight_hh"])
    d_weight_hh[:, 0] = d_w
    flat = dz.reshape(T * N, H)
    d_params = {"weight_ih": flat.T @ walked.reshape(T * N, -1), "weight_hh": d_weight_hh, "bias": dz.sum(axis=(0, 1))}
    for name, gradient in d_params.items():
        if into is not None:
            into[name][...] = gradient + (into[name] if accumulate else 0)
    dx = None
    if input_gradient:
        dx = order.batch_major(order.without_padding(dz @ params["weight_ih"]), reverse)
        if tokens is not None and tokens[1] is not None:
            d_table = np.zeros_like(tokens[1])
            np.add.at(d_table, tokens[0], dx)
            dx = d_table
    return dx, order.unsort(dz[0] * w) if state_gradient else None, d_params


DECAY = cells.Cell(
    "decay",
    gates=("h",),
    states=("h",),
    forward=decay_forward,
    backward=decay_backward,
)


class Decay(RecurrentLayer):
    """The cell as a layer."""

    cell = "decay"


@pytest.mark.parametrize("options", [{}, {"num_layers": 2, "bidirectional": True}])
def test_a_cell_may_bring_its_own_forward_and_backward(options):
    layer = Decay(3, 4, seed=0, device="cpu", **options)
    xlstm.check_gradients(layer)
    x = np.random.default_rng(0).standard_normal((1, 6, 3))
    if not options:
        whole, final = layer(x)
        first, state = layer(x[:, :2])
        second, state = layer(x[:, 2:], state)
        np.testing.assert_allclose(np.concatenate([first, second], axis=1), whole, rtol=1e-5)
        np.testing.assert_allclose(state, final, rtol=1e-5)


# ---------------------------------------------------------------- a cell whose states are not alike

# An RNN whose units also see the number of the step, which is a state of its own of width 1.


def counting_step(xp: Any, p: Any, z: Any, state: Any) -> Any:
    _, n = state
    return xp.tanh(z + 0.1 * n), n + 1


def counting_step_backward(xp: Any, p: Any, z: Any, before: Any, after: Any, d_after: Any, dz: Any) -> Any:
    (h_new, _), (dh, dn) = after, d_after
    dz[...] = dh * (1 - h_new**2)
    return None, dn + 0.1 * xp.sum(dz, axis=1, keepdims=True)


COUNTING = cells.Cell(
    "counting",
    gates=("h",),
    states=("h", "n"),
    step=counting_step,
    step_backward=counting_step_backward,
    state_sizes=lambda H: (H, 1),
)


class Counting(RecurrentLayer):
    """The cell as a layer."""

    cell = "counting"


@pytest.mark.parametrize("options", [{}, {"num_layers": 2, "bidirectional": True}])
def test_states_may_have_widths_of_their_own(options):
    layer = Counting(3, 4, seed=0, device="cpu", **options)
    xlstm.check_gradients(layer)
    _, (h, n) = layer(np.ones((2, 5, 3)), lengths=[5, 2])
    K = layer.num_layers * layer.directions
    assert h.shape == (K, 2, 4)
    np.testing.assert_array_equal(n, [[[5], [2]]] * K)
    with pytest.raises(ValueError, match=rf"state's n must be \({K}, 2, 1\)"):
        layer(np.ones((2, 5, 3)), (h, h))


def test_half_a_cell_is_refused():
    for given in ({}, {"step": counting_step}, {"forward": decay_forward}):
        with pytest.raises(ValueError, match="'half' needs step and step_backward, or forward and backward"):
            cells.Cell("half", gates=("h",), states=("h",), **given)
