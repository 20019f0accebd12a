"""Parameters: named views of one buffer."""

import copy
import pickle
from collections.abc import Iterator

import numpy as np
import pytest

from xlstm.params import Parameters, zeros

from ..conftest import Library
from ..peers import peer
from ..standin import machine

SHAPES = {"weight": (3, 2), "bias": (3,), "scale": (), "head.weight": (2, 3), "head.bias": (2,)}
SIZE = 6 + 3 + 1 + 6 + 2


@pytest.fixture(params=["numpy", "strict", "torch"])
def writable(request: pytest.FixtureRequest) -> Iterator[Library]:
    """Each array library, its arrays writable."""
    library = Library(request.param)
    library.asarray(0.0)  # skips where it is missing
    with library.strictest():
        yield library


def counted() -> Parameters:
    return Parameters(SHAPES, np.arange(float(SIZE)))


def test_views_follow_one_another_in_the_buffer(writable):
    flat = writable.asarray(np.arange(float(SIZE)))
    parameters = Parameters(SHAPES, flat)
    assert list(parameters) == list(SHAPES)
    assert len(parameters) == 5
    assert parameters.flat is flat
    start = 0
    for name, shape in SHAPES.items():
        size = int(np.prod(shape))
        expected = np.arange(start, start + size, dtype=float).reshape(shape)
        np.testing.assert_array_equal(writable.to_host(parameters[name]), expected)
        start += size
    flat[...] = 7.0
    assert all((writable.to_host(view) == 7).all() for view in parameters.values())
    parameters["bias"][...] = -1.0
    assert (writable.to_host(flat) == -1).sum() == 3


def test_assignment_writes_into_the_buffer(writable):
    flat = writable.asarray(np.zeros(SIZE))
    parameters = Parameters(SHAPES, flat)
    view = parameters["weight"]
    parameters["weight"] = writable.asarray(np.ones((3, 2)))
    parameters["bias"] = 5.0
    assert parameters["weight"] is view
    np.testing.assert_array_equal(writable.to_host(flat)[:10], [1] * 6 + [5] * 3 + [0])


@pytest.mark.parametrize(
    "values", [np.zeros((2, 3)), np.zeros((1, 2)), np.zeros(2), [1.0, 2.0], [[1.0, 2.0]], [[1.0], [2.0], [3.0]]]
)
def test_values_of_another_shape_are_refused_not_repeated(values):
    """A list too: [1, 2] would fit into each row."""
    parameters = counted()
    with pytest.raises((ValueError, TypeError), match="weight"):
        parameters["weight"] = values
    np.testing.assert_array_equal(parameters.flat, np.arange(SIZE))


FOREIGN = {
    "a torch tensor": (
        lambda: peer("torch").zeros((3, 2)),
        "given a PyTorch array on cpu.*NumPy arrays on cpu: pass its val",
    ),
    "text": (lambda: "ones", r"needs an array of shape \(3, 2\), or one number; got builtins.str"),
    "None": (lambda: None, "got builtins.NoneType"),
    "a dict": (lambda: {"weight": 1.0}, "got builtins.dict"),
    "a ragged list": (lambda: [[1.0], [2.0, 3.0]], "got a list. Make it one array first"),
    "a masked array": (lambda: np.ma.zeros((3, 2)), "MaskedArray"),
    "complex numbers": (lambda: np.zeros((3, 2), complex), "of real numbers; got dtype complex128"),
    "texts": (lambda: np.full((3, 2), "x"), "of real numbers; got dtype <U1"),
    "a transposed array": (lambda: np.zeros((2, 3)), r"got shape \(2, 3\). It is transposed: pass values.T"),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_what_cannot_be_assigned_is_said_in_a_sentence(kind):
    make, message = FOREIGN[kind]
    parameters = counted()
    with pytest.raises((TypeError, ValueError), match=f"^weight.*{message}"):
        parameters["weight"] = make()
    np.testing.assert_array_equal(parameters.flat, np.arange(SIZE))


def test_arrays_of_other_dtypes_are_assigned():
    parameters = Parameters(SHAPES, np.zeros(SIZE, "float32"))
    for values in (np.ones((3, 2)), np.ones((3, 2), int), np.ones((3, 2), bool), np.float64(1), 1, True, np.ones(())):
        parameters["weight"] = values
        assert (parameters["weight"] == 1).all()
        parameters["weight"] = 0


def test_arrays_of_the_other_side_are_refused():
    with machine(devices=2):
        import cupy

        on_gpu = Parameters(SHAPES, cupy.zeros(SIZE))
        with pytest.raises(
            TypeError, match=r"weight was given a CuPy array on cuda:0, but .* NumPy arrays on cpu: pass its"
        ):
            counted()["weight"] = cupy.ones((3, 2))
        with pytest.raises(
            TypeError, match=r"weight was given a NumPy array on cpu, .*CuPy arrays on cuda:0: pass cupy.asarr"
        ):
            on_gpu["weight"] = np.ones((3, 2))
        with cupy.cuda.Device(1):
            other = cupy.ones((3, 2))
        with pytest.raises(TypeError, match="a CuPy array on cuda:1, but the parameters are CuPy arrays on cuda:0"):
            on_gpu["weight"] = other
        with pytest.raises(
            ValueError, match=r"weight needs an array of shape \(3, 2\), or one number; got shape \(2,\)"
        ):
            on_gpu["weight"] = cupy.ones(2)
        on_gpu["weight"] = cupy.ones((3, 2))
        on_gpu["bias"] = 2.0
        np.testing.assert_array_equal(on_gpu.flat.get()[:9], [1] * 6 + [2] * 3)


def test_names_are_neither_added_nor_removed():
    parameters = counted()
    with pytest.raises(KeyError, match="no parameter 'wieght'; there are: weight, bias"):
        parameters["wieght"] = np.zeros((3, 2))
    with pytest.raises(KeyError, match="no parameter 'wieght'; there are: weight, bias"):
        parameters["wieght"]
    with pytest.raises((TypeError, AttributeError)):
        del parameters["weight"]
    assert "wieght" not in parameters
    assert repr(parameters).startswith("Parameters(weight (3, 2), bias (3,)")


@pytest.mark.parametrize("size", [SIZE - 1, SIZE + 1, 0, 3])
def test_a_buffer_of_another_size_is_refused(size):
    with pytest.raises(ValueError, match=rf"need a buffer of shape \({SIZE},\), got \({size},\)"):
        Parameters(SHAPES, np.zeros(size))


def test_a_buffer_of_another_form_is_refused():
    with pytest.raises(ValueError, match="need a buffer of shape"):
        Parameters({"a": (2, 2)}, np.zeros((2, 2)))
    with pytest.raises(TypeError):
        Parameters({"a": (2,)}, [0.0, 0.0])


def test_the_shapes_given_are_not_held_on_to():
    shapes = dict(SHAPES)
    parameters = Parameters(shapes, np.zeros(SIZE))
    shapes["weight"] = (99,)
    assert parameters.shapes["weight"] == (3, 2)


def test_every_second_element_still_gives_views():
    """A buffer inside another: no view may quietly become a copy."""
    whole = np.zeros(2 * SIZE)
    parameters = Parameters(SHAPES, whole[::2])
    for view in parameters.values():
        assert np.shares_memory(view, whole)
        view[...] = 1
    np.testing.assert_array_equal(whole, [1, 0] * SIZE)


def test_sections_are_views_of_the_same_buffer(writable):
    flat = writable.asarray(np.arange(float(SIZE)))
    parameters = Parameters(SHAPES, flat)
    head = parameters.section("head.")
    assert head.shapes == {"weight": (2, 3), "bias": (2,)}
    np.testing.assert_array_equal(writable.to_host(head.flat), np.arange(10, 18))
    head["bias"][...] = -3.0
    np.testing.assert_array_equal(writable.to_host(flat)[-2:], [-3, -3])
    head.flat[...] = 2.0
    assert (writable.to_host(parameters["head.weight"]) == 2).all()
    assert parameters.section("").shapes == parameters.shapes
    assert len(parameters.section("tail.")) == 0


def test_a_section_that_does_not_stand_together_is_refused():
    parameters = Parameters({"a.x": (2,), "b.x": (2,), "a.y": (2,)}, np.zeros(6))
    with pytest.raises(ValueError, match=r"begin with 'a\.' do not stand together"):
        parameters.section("a.")
    assert parameters.section("b.").shapes == {"x": (2,)}


@pytest.mark.parametrize("section", [False, True])
@pytest.mark.parametrize(
    "duplicate", [copy.deepcopy, lambda p: pickle.loads(pickle.dumps(p))], ids=["deepcopy", "pickle"]
)
def test_copies_keep_their_views_on_one_buffer(duplicate, section):
    parameters = counted().section("head.") if section else counted()
    copied = duplicate(parameters)
    assert copied.shapes == parameters.shapes
    np.testing.assert_array_equal(copied.flat, parameters.flat)
    assert not np.shares_memory(copied.flat, parameters.flat)
    copied.flat[...] = 9
    assert all((view == 9).all() and np.shares_memory(view, copied.flat) for view in copied.values())
    assert (parameters.flat != 9).any()


def test_zeros_are_like_the_example(writable, dtype):
    like = writable.asarray(np.ones(3), dtype)
    made = zeros(SHAPES, like)
    assert made.shapes == SHAPES
    assert type(made.flat) is type(like)
    assert made.flat.dtype == like.dtype
    assert made.flat.device == like.device
    assert not writable.to_host(made.flat).any()
    assert made.flat.shape == (SIZE,)
