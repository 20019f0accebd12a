"""Which array library do these arrays belong to: the one question the mathematics asks.

Every function of `cells`, `readout`, `head`, `losses` and `optim` computes in the namespace of the arrays it was given
(https://data-apis.org/array-api/latest/), so this module is all they know of NumPy, CuPy, PyTorch or array-api-strict.
"""

from __future__ import annotations

import functools
import math
from typing import Any

Array = Any
"""An array of any supported library."""

Namespace = Any
"""A module with the functions of the array API standard."""

SUPPORTED = {"numpy": "NumPy", "cupy": "CuPy", "torch": "PyTorch", "array_api_strict": "array-api-strict"}

OWN_NAMESPACE = {"numpy", "array_api_strict"}
"""Libraries whose arrays name their namespace themselves."""


def library(array: Any) -> str:
    """The name of the supported library that `array` belongs to, found without importing anything.

    Raises
    ------
    TypeError
        If it is no array, or one of a library that cannot be used here.
    """
    kind: Any = type(array)
    return _library_of(kind)


@functools.lru_cache(64)
def _library_of(kind: Any) -> str:
    for base in kind.__mro__:
        name: str = base.__module__.partition(".")[0]
        if name in SUPPORTED:
            if base.__module__.startswith("numpy.ma") or base.__name__ in ("matrix", "generic"):
                break
            if base.__name__ in ("ndarray", "Tensor", "Array"):
                return name
    full_name = f"{kind.__module__}.{kind.__qualname__}"
    supported = ", ".join(SUPPORTED.values())
    if full_name.partition(".")[0] in ("jax", "jaxlib", "tensorflow", "mlx"):
        raise TypeError(
            f"{full_name}: arrays of this library are immutable, and the cells write into slices of theirs. "
            f"Convert it first; supported are {supported}."
        )
    raise TypeError(f"{full_name} is not an array of a supported library: {supported}.")


def array_namespace(*arrays: Array, anywhere: bool = False) -> Namespace:
    """The array-API namespace shared by all `arrays`; those that are None are passed over.

    array-api-compat is imported only when a CuPy or PyTorch array is met: NumPy 2 and array-api-strict are their own
    namespaces, and the import costs more than NumPy's.

    Parameters
    ----------
    anywhere
        Whether CuPy's arrays may be on another device than the current one: for views and questions of type. CuPy
        computes on the current device, wherever its arrays are, so that results would land there.

    Raises
    ------
    TypeError
        If the arrays are of different libraries, or of one that is not supported.
    ValueError
        If one is a CuPy array of another device than the current one, and `anywhere` does not allow it.
    """
    kinds = {*map(type, arrays)}
    if len(kinds) == 1 and arrays[0] is not None and _library_of(*kinds) in OWN_NAMESPACE:  # mostly
        return arrays[0].__array_namespace__()
    given = [array for array in arrays if array is not None]
    names = {library(array) for array in given}
    if len(names) != 1:
        found = " and ".join(sorted(SUPPORTED[name] for name in names)) or "none"
        raise TypeError(f"all arrays must be of one library, got {found}. Convert them to one of them first.")
    if names <= OWN_NAMESPACE:
        return given[0].__array_namespace__()
    if "cupy" in names and not anywhere:
        _check_device(given)
    import array_api_compat

    return array_api_compat.array_namespace(given[0])


def _check_device(arrays: list[Array]) -> None:
    current = type(arrays[0].device)()  # of cupy.cuda.Device, without an argument
    for array in arrays:
        if array.device != current:
            number = array.device.id
            raise ValueError(
                f"an array is on the device cuda:{number}, and CuPy's current device is cuda:{current.id}, where its "
                f"results would land. Call this inside `with cupy.cuda.Device({number}):`, all arrays being there."
            )


def sigmoid(xp: Namespace, z: Array) -> Array:
    """1 / (1 + exp(-z)), of any shape: exact in its relative error far below 0 too, where a gate is nearly closed.

    exp(-z) would overflow below about -88 in float32 (and NumPy warn of it): there it is held at the largest finite
    value, which gives the smallest number that the dtype has room for, instead of 0; where a library flushes subnormal
    numbers to zero, as CuPy does in float32 (below about -87.3), that is 0. NaN stays NaN.
    """
    limit = math.log(xp.finfo(z.dtype).max)
    e = xp.exp(xp.minimum(-z, limit - 0.01))
    e += 1
    return 1 / e
