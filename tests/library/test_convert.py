"""Parameters to PyTorch and back. The matrices of textbooks are in test_layers.py, with the layers they make."""

from typing import Any

import numpy as np
import pytest

import xlstm
from xlstm.convert import from_torch, to_torch

from ..measure import relative_error
from ..peers import peer
from ..standin import machine

STACKS = [(1, False), (1, True), (3, False), (2, True)]


def ours(cell: type, layers: int, bidirectional: bool, dtype: str) -> Any:
    layer = cell(3, 4, layers, bidirectional, dtype=dtype, seed=1, init="pytorch", device="cpu")
    layer.parameters.flat[...] = np.random.default_rng(0).normal(0, 0.5, layer.parameters.flat.shape)
    return layer


def theirs(cell: type, layers: int, bidirectional: bool, dtype: str, **options: Any) -> Any:
    torch = peer("torch")
    torch.manual_seed(0)
    kind = {xlstm.LSTM: torch.nn.LSTM, xlstm.RNN: torch.nn.RNN, xlstm.GRU: torch.nn.GRU}[cell]
    return kind(3, 4, layers, bidirectional=bidirectional, batch_first=True, dtype=getattr(torch, dtype), **options)


def assert_same_outputs(layer: Any, module: Any, dtype: str) -> None:
    torch = peer("torch")
    x = np.random.default_rng(3).normal(size=(2, 5, 3)).astype(dtype)
    with torch.no_grad():
        expected, _ = module(torch.asarray(x))
    tolerance = {"float64": 1e-14, "float32": 1e-6}[dtype]
    assert relative_error(layer(x)[0], expected.numpy()) < tolerance


@pytest.mark.parametrize(("layers", "bidirectional"), STACKS)
@pytest.mark.parametrize("cell", [xlstm.LSTM, xlstm.RNN, xlstm.GRU])
def test_to_torch_loads_and_gives_the_same_outputs(cell, layers, bidirectional, dtype):
    torch = peer("torch")
    layer, module = ours(cell, layers, bidirectional, dtype), theirs(cell, layers, bidirectional, dtype)
    state = {name: torch.asarray(values) for name, values in to_torch(layer.parameters).items()}
    assert {name: values.shape for name, values in state.items()} == {
        name: values.shape for name, values in module.state_dict().items()
    }
    module.load_state_dict(state)
    assert_same_outputs(layer, module, dtype)


@pytest.mark.parametrize(("layers", "bidirectional"), STACKS)
@pytest.mark.parametrize("cell", [xlstm.LSTM, xlstm.RNN, xlstm.GRU])
def test_from_torch_adds_the_two_biases(cell, layers, bidirectional, dtype):
    module = theirs(cell, layers, bidirectional, dtype)
    layer = ours(cell, layers, bidirectional, dtype)
    values = from_torch(module.state_dict())
    assert set(values) == set(layer.parameters)
    assert {str(array.dtype) for array in values.values()} == {dtype}
    for name, array in values.items():
        layer.parameters[name] = array
    assert_same_outputs(layer, module, dtype)


@pytest.mark.parametrize("cell", [xlstm.LSTM, xlstm.RNN, xlstm.GRU])
def test_a_module_without_biases_has_biases_of_zero(cell, dtype):
    module = theirs(cell, 2, True, dtype, bias=False)
    layer = ours(cell, 2, True, dtype)
    values = from_torch(module.state_dict())
    assert set(values) == set(layer.parameters)
    for name, array in values.items():
        assert array.dtype == dtype
        layer.parameters[name] = array
    assert_same_outputs(layer, module, dtype)


@pytest.mark.parametrize("cell", [xlstm.LSTM, xlstm.RNN, xlstm.GRU])
def test_there_and_back_is_the_same(cell, dtype):
    """Host arrays will do: no PyTorch is needed."""
    layer = ours(cell, 2, True, dtype)
    state = to_torch(layer.parameters)
    assert all(type(values) is np.ndarray and values.dtype == dtype for values in state.values())
    back = from_torch(state)
    assert set(back) == set(layer.parameters)
    for name, values in layer.parameters.items():
        np.testing.assert_array_equal(back[name], values)


def test_what_is_given_out_is_a_copy():
    layer = ours(xlstm.LSTM, 1, False, "float64")
    before = layer.parameters.flat.copy()
    state = to_torch(layer.parameters)
    for values in state.values():
        values[...] = np.nan
    np.testing.assert_array_equal(layer.parameters.flat, before)


def test_what_is_taken_in_is_a_copy():
    """Writing to it must not train the module it came from."""
    state = to_torch(ours(xlstm.LSTM, 1, False, "float64").parameters)
    before = {name: values.copy() for name, values in state.items()}
    for values in from_torch(state).values():
        values[...] = np.nan
    for name, values in before.items():
        np.testing.assert_array_equal(state[name], values)


def test_a_projection_is_refused():
    module = theirs(xlstm.LSTM, 1, False, "float32", proj_size=2)
    with pytest.raises(ValueError, match="weight_hr_l0"):
        from_torch(module.state_dict())


@pytest.mark.parametrize("name", ["weight_hr_l0", "head.weight", "0.weight_ih_l0", "num_batches_tracked"])
def test_names_that_have_no_place_are_refused(name):
    state = to_torch(ours(xlstm.LSTM, 1, False, "float32").parameters)
    with pytest.raises(ValueError, match=name):
        from_torch({**state, name: np.zeros(3, "float32")})


@pytest.mark.parametrize("missing", ["bias_ih_l0", "bias_hh_l0", "weight_ih_l0", "weight_hh_l0"])
def test_one_of_a_pair_alone_is_refused(missing):
    """A bias left out would be taken for 0, a matrix for the layer's start."""
    state = to_torch(ours(xlstm.LSTM, 1, False, "float32").parameters)
    state["bias_hh_l0"] = np.ones(16, "float32")
    del state[missing]
    with pytest.raises(ValueError, match=missing):
        from_torch(state)


def test_what_pytorch_does_not_have_is_refused():
    layer = xlstm.GRU(3, 4, reset_after=False, device="cpu")
    with pytest.raises(
        ValueError, match="PyTorch has no recurrent layer with the parameters weight_ih, weight_hh, bias"
    ):
        to_torch(layer.parameters)
    with pytest.raises(ValueError, match=r"no recurrent layer with a weight_hh of shape \(10, 4\)"):
        from_torch({"weight_ih_l0": np.ones((10, 3)), "weight_hh_l0": np.ones((10, 4))})


# ---------------------------------------------------------------- arrays elsewhere, and what is no state


def test_parameters_on_a_gpu_come_and_go():
    expected = to_torch(ours(xlstm.GRU, 2, True, "float32").parameters)
    host = ours(xlstm.GRU, 2, True, "float32")
    with machine():
        import cupy

        found = to_torch(host.to("cuda").parameters)
        assert {name: values.tobytes() for name, values in found.items()} == {
            name: values.tobytes() for name, values in expected.items()
        }
        back = from_torch({name: cupy.asarray(values) for name, values in expected.items()})
        assert all(type(values) is np.ndarray for values in back.values())
        for name, values in host.parameters.items():
            np.testing.assert_array_equal(back[name], values)
        m = {name: cupy.ones((2, 5)) for name in ("W_f", "W_i", "W_g", "W_o")}
        b = {name: cupy.zeros(2) for name in ("b_f", "b_i", "b_g", "b_o")}
        assert xlstm.LSTM.from_gate_matrices(**m, **b, device="cpu").input_size == 3


def test_what_is_no_state_is_said():
    torch = peer("torch")
    module = torch.nn.LSTM(3, 4)
    with pytest.raises(TypeError, match=r"a state_dict maps names to arrays, got LSTM: pass its state_dict\(\)"):
        from_torch(module)
    with pytest.raises(
        TypeError, match=r"weight_ih_l0 is torch\.bfloat16, which NumPy does not have: pass tensor.float"
    ):
        from_torch(module.bfloat16().state_dict())
    state = to_torch(ours(xlstm.LSTM, 1, False, "float32").parameters)
    with pytest.raises(ValueError, match="weight_ih_l0 is a ragged list"):
        from_torch({**state, "weight_ih_l0": [[1.0], [1.0, 2.0]]})
    with pytest.raises(TypeError, match="weight_ih_l0 must be an array of real numbers, got str"):
        from_torch({**state, "weight_ih_l0": "x"})
    with pytest.raises(ValueError, match=r"Of a larger module take .*name.removeprefix\('net.lstm.'\)"):
        from_torch({"head.weight": np.ones(2), **{f"net.lstm.{name}": values for name, values in state.items()}})
