"""The recurrent layers once more, to judge the library by: float64, one sample and one step at a time, loops only.

Nothing here is imported from the library, and nothing is done its way: a sample ends because its loop ends, the reverse
direction walks its steps backwards, the four gates are four products, and the slopes are computed from what enters an
activation rather than from what leaves it, so that they are exact where a gate is shut or wide open.

`forward` also takes complex numbers, and `complex_step_gradients` differentiates it to the last digits without any
backward pass: Squire and Trapp, "Using Complex Variables to Estimate Derivatives of Real Functions" (1998).

N batch, T time, D features, H hidden, L layers, S directions. A state is a dict {"h": …, "c": …} (an RNN's has h
alone), each (L·S, N, H); parameters have the library's public names, weight_ih_l0 and so on.
"""

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

Host = np.ndarray[Any, Any]

STATES = {"lstm": ("h", "c"), "rnn": ("h",), "gru": ("h",), "gru_reset_before": ("h",)}
GATES = {"lstm": 4, "rnn": 1, "gru": 3, "gru_reset_before": 3}
OWN_PARAMETERS = {"gru": ("bias_hn",)}


class Result(NamedTuple):
    """What a forward call gives."""

    outputs: Host
    state: dict[str, Host]


class Gradients(NamedTuple):
    """What a backward call gives."""

    x: Host
    state: dict[str, Host]
    parameters: dict[str, Host]


def sigmoid(z: Any) -> Any:
    return 1 / (1 + np.exp(-z))


def sigmoid_slope(z: Any) -> Any:
    return sigmoid(z) * sigmoid(-z)


def tanh_slope(z: Any) -> Any:
    return 1 / np.cosh(z) ** 2


# ---------------------------------------------------------------- one step of one sample


def gate_inputs(params: Mapping[str, Host], x: Host, h: Host, gate: int) -> Host:
    """What enters one gate's activation, (H,)."""
    H = h.shape[0]
    block = slice(gate * H, (gate + 1) * H)
    return params["weight_ih"][block] @ x + params["weight_hh"][block] @ h + params["bias"][block]


def lstm_step(params: Mapping[str, Host], x: Host, h: Host, c: Host) -> tuple[Host, Host]:
    """(h, c) after one step of one sample."""
    zi, zf, zg, zo = (gate_inputs(params, x, h, gate) for gate in range(4))
    c_new = sigmoid(zf) * c + sigmoid(zi) * np.tanh(zg)
    return sigmoid(zo) * np.tanh(c_new), c_new


def lstm_step_backward(
    params: Mapping[str, Host], x: Host, h: Host, c: Host, dh_new: Host, dc_new: Host
) -> tuple[Host, Host, list[Host]]:
    """(dh, dc) of the state before the step, and the gradient of each gate's input."""
    zi, zf, zg, zo = (gate_inputs(params, x, h, gate) for gate in range(4))
    c_new = sigmoid(zf) * c + sigmoid(zi) * np.tanh(zg)
    dc_total = dc_new + dh_new * sigmoid(zo) * tanh_slope(c_new)
    d_gates = [
        dc_total * np.tanh(zg) * sigmoid_slope(zi),
        dc_total * c * sigmoid_slope(zf),
        dc_total * sigmoid(zi) * tanh_slope(zg),
        dh_new * np.tanh(c_new) * sigmoid_slope(zo),
    ]
    H = h.shape[0]
    dh = sum(params["weight_hh"][gate * H : (gate + 1) * H].T @ d_gates[gate] for gate in range(4))
    return dh, dc_total * sigmoid(zf), d_gates


def rnn_step(params: Mapping[str, Host], x: Host, h: Host) -> tuple[Host]:
    """(h,) after one step of one sample."""
    return (np.tanh(gate_inputs(params, x, h, 0)),)


def rnn_step_backward(params: Mapping[str, Host], x: Host, h: Host, dh_new: Host) -> tuple[Host, list[Host]]:
    """(dh,) of the state before the step, and the gradient of what enters the tanh."""
    d_gate = dh_new * tanh_slope(gate_inputs(params, x, h, 0))
    return params["weight_hh"].T @ d_gate, [d_gate]


def gru_parts(params: Mapping[str, Host], x: Host, h: Host, reset_after: bool) -> tuple[Host, ...]:
    """What enters the reset gate, the update gate and the candidate; and what the reset gate multiplies."""
    H = h.shape[0]
    zr, zu = gate_inputs(params, x, h, 0), gate_inputs(params, x, h, 1)
    R_n, from_x = params["weight_hh"][2 * H :], params["weight_ih"][2 * H :] @ x + params["bias"][2 * H :]
    if reset_after:
        inside = R_n @ h + params["bias_hn"]
        return zr, zu, from_x + sigmoid(zr) * inside, inside
    return zr, zu, from_x + R_n @ (sigmoid(zr) * h), h


def gru_step(params: Mapping[str, Host], x: Host, h: Host, reset_after: bool = True) -> tuple[Host]:
    """(h,) after one step of one sample."""
    _, zu, zn, _ = gru_parts(params, x, h, reset_after)
    return (sigmoid(-zu) * np.tanh(zn) + sigmoid(zu) * h,)


def gru_step_backward(
    params: Mapping[str, Host], x: Host, h: Host, dh_new: Host, reset_after: bool = True
) -> tuple[Host, list[Host], dict[str, Host]]:
    """(dh,) of the state before the step, the gradient of each gate's input, and what `recurrent` says of it."""
    H = h.shape[0]
    R_r, R_u, R_n = (params["weight_hh"][gate * H : (gate + 1) * H] for gate in range(3))
    zr, zu, zn, inside = gru_parts(params, x, h, reset_after)
    d_zn = dh_new * sigmoid(-zu) * tanh_slope(zn)
    d_zu = dh_new * (h - np.tanh(zn)) * sigmoid_slope(zu)
    if reset_after:
        d_inside = d_zn * sigmoid(zr)
        d_zr = d_zn * inside * sigmoid_slope(zr)
        own = {"weight_hh": np.outer(d_inside, h), "bias_hn": d_inside}
        through = R_n.T @ d_inside
    else:
        d_reset_h = R_n.T @ d_zn
        d_zr = d_reset_h * h * sigmoid_slope(zr)
        own = {"weight_hh": np.outer(d_zn, sigmoid(zr) * h)}
        through = d_reset_h * sigmoid(zr)
    dh = dh_new * sigmoid(zu) + R_r.T @ d_zr + R_u.T @ d_zu + through
    own["weight_hh"] = np.concatenate([np.outer(d_zr, h), np.outer(d_zu, h), own["weight_hh"]])
    return dh, [d_zr, d_zu, d_zn], own


STEPS = {
    "lstm": lstm_step,
    "rnn": rnn_step,
    "gru": gru_step,
    "gru_reset_before": functools.partial(gru_step, reset_after=False),
}
STEPS_BACKWARD = {
    "lstm": lstm_step_backward,
    "rnn": rnn_step_backward,
    "gru": gru_step_backward,
    "gru_reset_before": functools.partial(gru_step_backward, reset_after=False),
}
RECURRENT_BY_ITSELF = ("gru", "gru_reset_before")
"""The cells whose backward step returns the gradients of `weight_hh` and of further parameters itself."""


# ---------------------------------------------------------------- one sample through one layer in one direction


def walk(
    cell: str, params: Mapping[str, Host], x: Host, state: tuple[Host, ...], times: Any
) -> tuple[dict[int, Host], list[tuple[Host, ...]]]:
    """One sample x (T, D) through the steps `times`: h after each, and all states, the first and the last included."""
    hs, states = {}, [state]
    for t in times:
        state = STEPS[cell](params, x[t], *state)
        hs[t] = state[0]
        states.append(state)
    return hs, states


def walk_back(
    cell: str,
    params: Mapping[str, Host],
    x: Host,
    states: list[tuple[Host, ...]],
    times: Any,
    d_hs: Host,
    d_state: tuple[Host, ...],
) -> tuple[dict[int, Host], tuple[Host, ...], dict[str, Host]]:
    """From d_hs (T, H) and the last state's gradient: dx of each step, the first state's gradient, the parameters'."""
    H = params["weight_hh"].shape[1]
    d_params = {name: np.zeros_like(values) for name, values in params.items()}
    dxs = {}
    for position in reversed(range(len(times))):
        t, before = times[position], states[position]
        d_state = (d_state[0] + d_hs[t], *d_state[1:])
        *d_before, d_gates = STEPS_BACKWARD[cell](params, x[t], *before, *d_state)
        if cell in RECURRENT_BY_ITSELF:
            *d_before, d_gates, own = (*d_before, d_gates)
            for name, gradient in own.items():
                d_params[name] += gradient
        dxs[t] = np.zeros_like(x[t])
        for gate, d_gate in enumerate(d_gates):
            block = slice(gate * H, (gate + 1) * H)
            dxs[t] = dxs[t] + params["weight_ih"][block].T @ d_gate
            d_params["weight_ih"][block] += np.outer(d_gate, x[t])
            if cell not in RECURRENT_BY_ITSELF:
                d_params["weight_hh"][block] += np.outer(d_gate, before[0])
            d_params["bias"][block] += d_gate
        d_state = tuple(d_before)
    return dxs, d_state, d_params


# ---------------------------------------------------------------- whole layers


def of_cell(parameters: Mapping[str, Host], suffix: str) -> dict[str, Host]:
    kinds = dict.fromkeys(name.rpartition("_l")[0] for name in parameters)
    return {name: parameters[f"{name}_{suffix}"] for name in kinds}


def suffixes(parameters: Mapping[str, Host]) -> list[list[str]]:
    """The endings of the parameters' names: for each layer, those of its directions."""
    found = []
    while f"weight_ih_l{len(found)}" in parameters:
        layer = f"l{len(found)}"
        found.append([layer, f"{layer}_reverse"] if f"weight_ih_{layer}_reverse" in parameters else [layer])
    return found


def wide(values: Any) -> Host:
    """A copy in float64, or in complex128 where it is complex."""
    return np.array(values, dtype=np.complex128 if np.iscomplexobj(values) else np.float64)


class Prepared(NamedTuple):
    """The arguments, made whole: no None is left."""

    parameters: dict[str, Host]
    x: Host
    state: dict[str, Host]
    lengths: list[int]
    hidden: int


def prepare(cell: str, parameters: Mapping[str, Host], x: Host, state: Any, lengths: Any) -> Prepared:
    parameters = {name: wide(values) for name, values in parameters.items()}
    H = parameters["weight_hh_l0"].shape[1]
    N, T = x.shape[:2]
    K = sum(len(directions) for directions in suffixes(parameters))
    state = dict(state or {})
    whole = {name: np.zeros((K, N, H)) if state.get(name) is None else wide(state[name]) for name in STATES[cell]}
    return Prepared(parameters, wide(x), whole, [T] * N if lengths is None else [int(n) for n in lengths], H)


def forward(cell: str, parameters: Mapping[str, Host], x: Host, state: Any = None, lengths: Any = None) -> Result:
    """All outputs (N, T, S·H), zero after a row's length, and the final states."""
    given = prepare(cell, parameters, x, state, lengths)
    return _forward(cell, given)[0]


def _forward(cell: str, given: Prepared) -> tuple[Result, list[tuple[Host, list[list[Any]]]]]:
    """The result, and for each layer what entered it and the states it went through (direction, sample)."""
    parameters, x, initial, lengths, H = given
    kind = np.result_type(x, *parameters.values(), *initial.values())
    N, T = x.shape[:2]
    final = {name: np.zeros(values.shape, dtype=kind) for name, values in initial.items()}
    history, k = [], 0
    for directions in suffixes(parameters):
        outputs = np.zeros((N, T, len(directions) * H), dtype=kind)
        visited: list[list[Any]] = []
        for side, suffix in enumerate(directions):
            visited.append([])
            for n in range(N):
                times = list(range(lengths[n]))[:: -1 if side else 1]
                start = tuple(initial[name][k, n] for name in STATES[cell])
                hs, states = walk(cell, of_cell(parameters, suffix), x[n], start, times)
                for t, h in hs.items():
                    outputs[n, t, side * H : (side + 1) * H] = h
                for name, values in zip(STATES[cell], states[-1], strict=True):
                    final[name][k, n] = values
                visited[side].append(states)
            k += 1
        history.append((x, visited))
        x = outputs
    return Result(x, final), history


def backward(
    cell: str,
    parameters: Mapping[str, Host],
    x: Host,
    state: Any = None,
    lengths: Any = None,
    d_outputs: Host | None = None,
    d_state: Any = None,
) -> Gradients:
    """The gradients of sum(outputs · d_outputs) + sum(final state · d_state), by hand, one sample at a time."""
    given = prepare(cell, parameters, x, state, lengths)
    parameters, x, _, lengths, H = given
    result, history = _forward(cell, given)
    d_outputs = np.zeros_like(result.outputs) if d_outputs is None else wide(d_outputs)
    d_state = dict(d_state or {})
    d_final = {
        name: np.zeros_like(values) if d_state.get(name) is None else wide(d_state[name])
        for name, values in result.state.items()
    }
    d_initial = {name: np.zeros_like(values) for name, values in d_final.items()}
    d_parameters = {name: np.zeros_like(values) for name, values in parameters.items()}
    k = sum(len(directions) for directions in suffixes(parameters))
    for (layer_x, visited), directions in zip(history[::-1], suffixes(parameters)[::-1], strict=True):
        k -= len(directions)
        dx = np.zeros_like(layer_x)
        for side, suffix in enumerate(directions):
            for n in range(len(lengths)):
                times = list(range(lengths[n]))[:: -1 if side else 1]
                d_hs = d_outputs[n, :, side * H : (side + 1) * H]
                d_last = tuple(d_final[name][k + side, n] for name in STATES[cell])
                dxs, d_first, d_params = walk_back(
                    cell, of_cell(parameters, suffix), layer_x[n], visited[side][n], times, d_hs, d_last
                )
                for t, values in dxs.items():
                    dx[n, t] += values
                for name, values in zip(STATES[cell], d_first, strict=True):
                    d_initial[name][k + side, n] = values
                for name, values in d_params.items():
                    d_parameters[f"{name}_{suffix}"] += values
        d_outputs = dx
    return Gradients(d_outputs, d_initial, d_parameters)


def complex_step_gradients(
    cell: str,
    parameters: Mapping[str, Host],
    x: Host,
    state: Any = None,
    lengths: Any = None,
    d_outputs: Host | None = None,
    d_state: Any = None,
) -> Gradients:
    """The same as `backward` with no backward pass: the imaginary part of `forward` at a point moved by 1e-30·i.

    One whole forward pass for each number: for small shapes.
    """
    given = prepare(cell, parameters, x, state, lengths)
    d_state = {name: values for name, values in dict(d_state or {}).items() if values is not None}

    def loss(moved: Prepared) -> Any:
        outputs, final = _forward(cell, moved)[0]
        total = 0 if d_outputs is None else np.sum(outputs * d_outputs)
        return total + sum(np.sum(final[name] * values) for name, values in d_state.items())

    def gradient(values: Host, replaced: Any) -> Host:
        derivative = np.zeros_like(values)
        for index in np.ndindex(*values.shape):
            moved = values.astype(np.complex128)
            moved[index] += 1e-30j
            derivative[index] = np.imag(loss(replaced(moved))) / 1e-30
        return derivative

    return Gradients(
        gradient(given.x, lambda moved: given._replace(x=moved)),
        {
            name: gradient(values, lambda moved, name=name: given._replace(state={**given.state, name: moved}))
            for name, values in given.state.items()
        },
        {
            name: gradient(
                values, lambda moved, name=name: given._replace(parameters={**given.parameters, name: moved})
            )
            for name, values in given.parameters.items()
        },
    )


# ---------------------------------------------------------------- for those who call this


def as_layer(params: Mapping[str, Any]) -> dict[str, Any]:
    """weight_ih, weight_hh and bias by the names they have in a stack of one layer."""
    return {f"{name}_l0": values for name, values in params.items()}


def random_parameters(
    rng: np.random.Generator, cell: str, D: int, H: int, layers: int = 1, directions: int = 1, scale: float = 1.0
) -> dict[str, Host]:
    """Parameters of a stack, normal, the weights shrunk with the number of what they sum."""
    G = GATES[cell] * H
    parameters = {}
    for layer in range(layers):
        for end in ("", "_reverse")[:directions]:
            inputs = D if layer == 0 else H * directions
            parameters[f"weight_ih_l{layer}{end}"] = rng.normal(0, scale / inputs**0.5, (G, inputs))
            parameters[f"weight_hh_l{layer}{end}"] = rng.normal(0, scale / H**0.5, (G, H))
            parameters[f"bias_l{layer}{end}"] = rng.normal(0, scale, G)
            for name in OWN_PARAMETERS.get(cell, ()):
                parameters[f"{name}_l{layer}{end}"] = rng.normal(0, scale, H)
    return parameters
