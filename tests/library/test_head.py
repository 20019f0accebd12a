"""The head: against sums written out, its gradients against the complex step."""

import numpy as np
import pytest

from xlstm import head

from ..measure import check_forward, check_gradients

SHAPES = [(4, 3, 5), (1, 1, 1), (3, 4, 1), (1, 2, 6), (5, 1, 2)]


def example(shape, dtype):
    N, F, K = shape
    rng = np.random.default_rng([*shape])
    params = {"weight": rng.normal(size=(K, F)).astype(dtype), "bias": rng.normal(size=K).astype(dtype)}
    return params, rng.normal(size=(N, F)).astype(dtype), rng.normal(size=(N, K)).astype(dtype)


def logits_of(weight, bias, features):
    """One number at a time, complex or real."""
    N, K = len(features), len(bias)
    logits = np.zeros((N, K), dtype=np.result_type(weight, bias, features, float))
    for n in range(N):
        for k in range(K):
            logits[n, k] = sum(weight[k, f] * features[n, f] for f in range(features.shape[1])) + bias[k]
    return logits


@pytest.mark.parametrize("shape", SHAPES)
def test_forward(xp, dtype, shape):
    params, features, _ = example(shape, dtype)
    logits = head.forward({name: xp.asarray(values) for name, values in params.items()}, xp.asarray(features))
    assert logits.dtype == xp.asarray(features).dtype
    assert logits.device == xp.asarray(features).device
    wide = {name: values.astype(float) for name, values in params.items()}
    # Elements are sums that may cancel: the arrays' own size is 1.
    check_forward({"logits": xp.to_host(logits)}, {"logits": logits_of(features=features, **wide)}, dtype, floor=1.0)


@pytest.mark.parametrize("shape", SHAPES)
def test_backward(xp, dtype, shape):
    params, features, d_logits = example(shape, dtype)
    d_features, d_params = head.backward(
        {name: xp.asarray(values) for name, values in params.items()}, xp.asarray(features), xp.asarray(d_logits)
    )
    expected = {}
    point = {name: values.astype(float) for name, values in {**params, "features": features}.items()}
    for name, values in point.items():
        expected[name] = np.zeros_like(values)
        for index in np.ndindex(*values.shape):
            moved = values.astype(complex)
            moved[index] += 1e-30j
            expected[name][index] = np.sum(logits_of(**{**point, name: moved}) * d_logits).imag / 1e-30
    assert set(d_params) == {"weight", "bias"}
    got = {"features": d_features, **d_params}
    for name, gradient in got.items():
        assert gradient.dtype == xp.asarray(features).dtype, name
        assert gradient.device == xp.asarray(features).device, name
    check_gradients({name: xp.to_host(gradient) for name, gradient in got.items()}, expected, dtype)
