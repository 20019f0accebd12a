"""The style of code that this library began from: a correct LSTM as one writes it first, kept as slow as it was.

A sequence is a list of column vectors (D, 1). One sample goes through at a time. Each gate has a matrix of its own, on
z = [h; x], so a step does four products; everything that a step computes goes into a dict, which is copied deeply. The
numbers are float64, as NumPy gives them to who does not ask. Many-to-one: a gradient enters at the last step alone.

`layers.py` times it beside the library. The fault of the original (tanh of the old cell state) is mended here, else
there were nothing to compare; docs/many-to-one.md explains both.
"""

from __future__ import annotations

import copy

import numpy as np

GATES = "ifgo"  # the order of weight_ih, weight_hh and bias


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


def forward(p, xs):
    """One sequence, a list of (D, 1). Returns h and C after the last step, (H, 1), and the list of the steps' dicts."""
    h = np.zeros_like(p["b_f"])
    C = np.zeros_like(p["b_f"])
    caches = []
    for x in xs:
        z = np.vstack((h, x))
        f = sigmoid(np.dot(p["W_f"], z) + p["b_f"])
        i = sigmoid(np.dot(p["W_i"], z) + p["b_i"])
        g = np.tanh(np.dot(p["W_g"], z) + p["b_g"])
        C_new = f * C + i * g
        o = sigmoid(np.dot(p["W_o"], z) + p["b_o"])
        h_new = o * np.tanh(C_new)
        cache = {"z": z, "f": f, "i": i, "g": g, "o": o, "C_old": C, "C": C_new, "h_old": h, "h": h_new}
        caches.append(copy.deepcopy(cache))
        h, C = h_new, C_new
    return h, C, caches


def backward(p, caches, dh, d):
    """From dh of the last step, (H, 1): the list of dx, (D, 1); the parameters' gradients are added into the dict d."""
    dC = np.zeros_like(dh)
    dxs = []
    for cache in reversed(caches):
        tanh_C = np.tanh(cache["C"])
        do = dh * tanh_C * cache["o"] * (1 - cache["o"])
        dC = dC + dh * cache["o"] * (1 - tanh_C**2)
        df = dC * cache["C_old"] * cache["f"] * (1 - cache["f"])
        di = dC * cache["g"] * cache["i"] * (1 - cache["i"])
        dg = dC * cache["i"] * (1 - cache["g"] ** 2)
        dz = np.zeros_like(cache["z"])
        for gate, da in (("f", df), ("i", di), ("g", dg), ("o", do)):
            d["W_" + gate] += np.dot(da, cache["z"].T)
            d["b_" + gate] += da
            dz += np.dot(p["W_" + gate].T, da)
        dh, dC = dz[: len(dh)], dC * cache["f"]
        dxs.append(dz[len(dh) :])
    return dxs[::-1]


def training_step(p, sequences, d_last):
    """Every sequence forward and backward, one after another. d_last has the dh (H, 1) of each.

    Returns the last h and C of each, their lists of dx, and the gradients of the parameters.
    """
    d = {name: np.zeros_like(array) for name, array in p.items()}
    hs, Cs, dxs = [], [], []
    for xs, dh in zip(sequences, d_last, strict=True):
        h, C, caches = forward(p, xs)
        hs.append(h)
        Cs.append(C)
        dxs.append(backward(p, caches, dh, d))
    return hs, Cs, dxs, d


def parameters(values):
    """The dict of matrices from weight_ih_l0, weight_hh_l0 and bias_l0."""
    H = values["weight_hh_l0"].shape[1]
    p = {}
    for k, gate in enumerate(GATES):
        rows = slice(k * H, (k + 1) * H)
        p["W_" + gate] = np.hstack((values["weight_hh_l0"][rows], values["weight_ih_l0"][rows])).astype(np.float64)
        p["b_" + gate] = values["bias_l0"][rows].reshape(H, 1).astype(np.float64)
    return p


def columns(x):
    """(N, T, D) as a list, for each sample, of lists of columns (D, 1); for two dimensions, one list of columns."""
    if x.ndim == 2:
        return [row.astype(np.float64).reshape(-1, 1) for row in x]
    return [columns(sample) for sample in x]


def to_layer(hs, Cs, dxs, d):
    """The results of `training_step` as the library has them, to compare."""
    H = len(hs[0])
    return {
        "h": np.array(hs)[:, :, 0],
        "c": np.array(Cs)[:, :, 0],
        "dx": np.array(dxs)[:, :, :, 0],
        "d_weight_ih": np.concatenate([d["W_" + gate][:, H:] for gate in GATES]),
        "d_weight_hh": np.concatenate([d["W_" + gate][:, :H] for gate in GATES]),
        "d_bias": np.concatenate([d["b_" + gate][:, 0] for gate in GATES]),
    }
