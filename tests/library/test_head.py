"""The head: against sums written out, its gradients against the complex step."""

import numpy as np
import pytest

import xlstm
from xlstm import head

from ..measure import check_forward, check_gradients
from ..peers import peer
from ..standin import machine

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


def test_every_step_is_a_row(xp, dtype):
    params, features, d_logits = example((6, 3, 2), dtype)
    params = {name: xp.asarray(values) for name, values in params.items()}
    logits = xp.to_host(head.forward(params, xp.asarray(features.reshape(2, 3, 3))))
    np.testing.assert_allclose(logits.reshape(6, 2), xp.to_host(head.forward(params, xp.asarray(features))), rtol=1e-6)
    d_features, d_params = head.backward(
        params, xp.asarray(features.reshape(2, 3, 3)), xp.asarray(d_logits.reshape(2, 3, 2))
    )
    d_rows, d_expected = head.backward(params, xp.asarray(features), xp.asarray(d_logits))
    np.testing.assert_allclose(xp.to_host(d_features).reshape(6, 3), xp.to_host(d_rows), rtol=1e-6)
    for name, gradient in d_params.items():
        np.testing.assert_array_equal(xp.to_host(gradient), xp.to_host(d_expected[name]))


def test_a_single_vector_is_a_row(xp, dtype):
    """Of no batch: the numbers of a batch of one."""
    params, features, d_logits = example((1, 3, 2), dtype)
    params = {name: xp.asarray(values) for name, values in params.items()}
    logits = xp.to_host(head.forward(params, xp.asarray(features[0])))
    check_forward({"logits": logits}, {"logits": xp.to_host(head.forward(params, xp.asarray(features)))[0]}, dtype)
    d_features, d_params = head.backward(params, xp.asarray(features[0]), xp.asarray(d_logits[0]))
    d_row, expected = head.backward(params, xp.asarray(features), xp.asarray(d_logits))
    np.testing.assert_allclose(xp.to_host(d_features), xp.to_host(d_row)[0], rtol=1e-6)
    for name, gradient in d_params.items():
        np.testing.assert_allclose(xp.to_host(gradient), xp.to_host(expected[name]), rtol=1e-6)


@pytest.mark.parametrize("init", ["orthogonal", "pytorch"])
def test_new_parameters_are_like_the_layers(xp, dtype, init):
    like = xp.asarray(np.zeros(1, dtype))
    made = head.parameters(200, 50, like, seed=0, init=init)
    assert made.shapes == {"weight": (50, 200), "bias": (50,)}
    assert made.flat.dtype == like.dtype
    assert made.flat.device == like.device
    weight, bias = xp.to_host(made["weight"]), xp.to_host(made["bias"])
    limit = (6 / 250) ** 0.5 if init == "orthogonal" else 200**-0.5
    assert 0.98 * limit < np.abs(weight).max() <= limit
    assert abs(weight.std() - limit / 3**0.5) < 0.02 * limit
    if init == "pytorch":  # uniform in ±limit, as the weight
        assert 0.8 * limit < np.abs(bias).max() <= limit
        assert abs(bias.std() - limit / 3**0.5) < 0.2 * limit
    else:
        assert not bias.any()
    again = head.parameters(200, 50, like, seed=0, init=init)
    np.testing.assert_array_equal(xp.to_host(again.flat), xp.to_host(made.flat))


def test_new_parameters_on_the_second_gpu():
    host = head.parameters(3, 2, np.zeros(1, "float32"), seed=0)
    with machine(devices=2):
        import cupy

        layer = xlstm.LSTM(2, 3, device="cuda:1")
        made = head.parameters(3, 2, like=layer.parameters, seed=0)
        assert made.flat.device.id == 1
        np.testing.assert_array_equal(cupy.asnumpy(made.flat), host.flat)


def test_arrays_of_two_gpus_are_refused():
    params, features, _ = example((4, 3, 5), "float32")
    with machine(devices=2):
        import cupy

        with cupy.cuda.Device(1):
            there = {name: cupy.asarray(values) for name, values in params.items()}
            features = cupy.asarray(features)
        with pytest.raises(ValueError, match=r"cuda:1, and CuPy's current device is cuda:0"):
            head.forward(there, features)


def test_gradients_of_another_library_are_refused():
    torch = peer("torch")
    params, features, d_logits = example((4, 3, 5), "float64")
    into = {name: torch.zeros(*values.shape, dtype=torch.float64) for name, values in params.items()}
    with pytest.raises(TypeError, match="all arrays must be of one library, got NumPy and PyTorch"):
        head.backward(params, features, d_logits, into=into)


def test_wrong_calls_say_what_to_pass():
    layer = xlstm.LSTM(2, 3, device="cpu")
    params = head.parameters(3, 2, like=layer.parameters)
    features = np.zeros((4, 3), "float32")
    with pytest.raises(ValueError, match=r"features must be \(N, 3\) or \(N, T, 3\) .*\(2, 3\); got shape \(4, 5\)"):
        head.forward(params, np.zeros((4, 5), "float32"))
    with pytest.raises(ValueError, match=r"features must be \(N, 3\) or \(N, T, 3\) .*got shape \(\)"):
        head.forward(params, np.zeros((), "float32"))
    with pytest.raises(
        TypeError, match=r"must hold the weight .* as xlstm.head.parameters makes them; got weight_ih_l0"
    ):
        head.forward(layer.parameters, features)
    with pytest.raises(TypeError, match="got LSTM"):
        head.forward(layer, features)
    with pytest.raises(TypeError, match="list is not an array"):
        head.forward(params, [[0.0] * 3])
    with pytest.raises(ValueError, match=r"d_logits must be \(4, 2\), like the logits of features \(4, 3\); got shape"):
        head.backward(params, features, np.zeros((4, 3), "float32"))
    with pytest.raises(ValueError, match=r"features must be \(N, 3\) or"):
        head.backward(params, np.zeros((4, 5), "float32"), np.zeros((4, 2), "float32"))
    with pytest.raises(ValueError, match="outputs must be 1 or more, got 0"):
        head.parameters(3, 0, like=layer.parameters)
    with pytest.raises(TypeError, match=r"like must be of a floating type.*got dtype int64"):
        head.parameters(3, 2, like=np.zeros(3, "int64"))
    with pytest.raises(TypeError, match=r"like must be layer.parameters or an array, got dict"):
        head.parameters(3, 2, like=dict(layer.parameters))
    with pytest.raises(ValueError, match="init must be one of"):
        head.parameters(3, 2, like=layer.parameters, init="zeros")


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("steps", [False, True])
def test_gradients_written_in_place(xp, dtype, shape, steps):
    """The same bits as those that are handed out, in the arrays that were given: views of a buffer."""
    if xp.name.startswith("strict"):
        pytest.skip("the standard has no out=")
    params, features, d_logits = ({k: xp.asarray(v) for k, v in a.items()} if isinstance(a, dict) else xp.asarray(a)
                                  for a in example(shape, dtype))  # fmt: skip
    if steps:
        features, d_logits = features[:, None, :], d_logits[:, None, :]
    _, F, K = shape
    buffer = xp.asarray(np.full(K * F + K + 1, np.nan), dtype)
    if xp.name == "numpy-readonly":
        buffer = buffer.copy()
    into = {"weight": buffer[1 : 1 + K * F].reshape(K, F), "bias": buffer[1 + K * F :]}
    d_features, d_params = head.backward(params, features, d_logits, into=into)
    expected_features, expected = head.backward(params, features, d_logits)
    assert d_params["weight"] is into["weight"]
    assert d_params["bias"] is into["bias"]
    for got, wanted in ((d_features, expected_features), *((into[name], expected[name]) for name in expected)):
        np.testing.assert_array_equal(xp.to_host(got), xp.to_host(wanted))
    assert np.isnan(xp.to_host(buffer)[0])


@pytest.mark.parametrize("xp", ["numpy", "torch"], indirect=True)
def test_gradients_are_written_where_they_fit_and_nowhere_else(xp):
    params, features, d_logits = (
        {k: xp.asarray(v) for k, v in a.items()} if isinstance(a, dict) else xp.asarray(a)
        for a in example((4, 3, 5), "float64")
    )
    expected = head.backward(params, features, d_logits)[1]

    def into(weight=(5, 3), bias=(5,), dtype="float64"):
        shapes = {"weight": weight, "bias": bias}
        return {name: xp.asarray(np.full(shape, 7, dtype)) for name, shape in shapes.items()}

    good = into()
    _, found = head.backward(params, features, d_logits, into=good)
    for name, gradient in found.items():
        assert gradient is good[name]
        np.testing.assert_array_equal(xp.to_host(gradient), xp.to_host(expected[name]))
    names = "into must hold arrays for the gradients of weight and bias, by these names; got "
    wrong = {
        "weight": ({"weight": into()["weight"]}, TypeError, names + r"weight\."),
        "nothing": ({}, TypeError, names + r"nothing\."),
        "a list": (list(into().values()), TypeError, names + r"list\."),
        "more": ({**into(), "scale": into()["bias"]}, TypeError, names + r"weight, bias, scale\."),
        "shape": (into(weight=(3, 5)), ValueError, r"into\['weight'\] must have the shape \(5, 3\) .* got \(3, 5\)\."),
        "one for all": (into(bias=(1,)), ValueError, r"into\['bias'\] must have the shape \(5,\) .* got \(1,\)\."),
        "dtype": (into(dtype="float32"), TypeError, r"into\['weight'\] must have the dtype .*64.*; got .*32\."),
    }
    for given, error, message in wrong.values():
        with pytest.raises(error, match=message):
            head.backward(params, features, d_logits, into=given)
        values = given.values() if isinstance(given, dict) else given
        assert all((xp.to_host(array) == 7).all() for array in values), "nothing is half written"
