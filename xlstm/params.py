"""All parameters of a model in one contiguous buffer, with named views on it; the same for their gradients.

So an optimiser step, a norm, a checkpoint or a copy to another device is one array, whatever the number of names.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from .namespace import Array, array_namespace


class Parameters(Mapping[str, Array]):
    """Named views of one flat array.

    Reading gives the view, so `parameters["bias_l0"][...] = 0` writes to the model; `parameters["bias_l0"] = values`
    copies the values into the view. Names cannot be added or removed.

    Parameters
    ----------
    shapes
        The shape of each name, in the order of the buffer.
    flat
        A one-dimensional array of just as many elements.

    Attributes
    ----------
    flat
        The buffer itself.
    """

    def __init__(self, shapes: Mapping[str, tuple[int, ...]], flat: Array) -> None:
        self.shapes = dict(shapes)
        self.flat = flat
        xp = array_namespace(flat)
        size = sum(math.prod(shape) for shape in self.shapes.values())
        if tuple(flat.shape) != (size,):
            raise ValueError(f"the parameters need a buffer of shape ({size},), got {tuple(flat.shape)}.")
        self._views: dict[str, Array] = {}
        start = 0
        for name, shape in self.shapes.items():
            end = start + math.prod(shape)
            self._views[name] = xp.reshape(flat[start:end], shape)
            start = end

    def __getitem__(self, name: str) -> Array:
        return self._views[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._views)

    def __len__(self) -> int:
        return len(self._views)

    def __setitem__(self, name: str, values: Array) -> None:
        if name not in self._views:
            raise KeyError(f"there is no parameter {name!r}; there are: {', '.join(self._views)}.")
        view = self._views[name]
        shape = None if isinstance(values, (list, tuple)) else tuple(getattr(values, "shape", ()))
        if shape not in ((), tuple(view.shape)):
            got = "a list" if shape is None else f"shape {shape}"
            raise ValueError(f"{name} needs an array of shape {tuple(view.shape)}, or one number; got {got}.")
        view[...] = values

    def __repr__(self) -> str:
        inside = ", ".join(f"{name} {tuple(shape)}" for name, shape in self.shapes.items())
        return f"Parameters({inside})"

    def section(self, prefix: str) -> Parameters:
        """The names that begin with `prefix`, which is cut off: views of the same buffer. They must stand together."""
        shapes: dict[str, tuple[int, ...]] = {}
        start = end = position = 0
        for name, shape in self.shapes.items():
            after = position + math.prod(shape)
            if name.startswith(prefix):
                start = position if not shapes else start
                if shapes and end != position:
                    raise ValueError(f"the names that begin with {prefix!r} do not stand together.")
                shapes[name.removeprefix(prefix)] = shape
                end = after
            position = after
        return Parameters(shapes, self.flat[start:end])

    def __reduce__(self) -> tuple[type, tuple[dict[str, tuple[int, ...]], Array]]:
        # Copies and pickles keep the views on one buffer.
        return Parameters, (self.shapes, self.flat)


def zeros(shapes: Mapping[str, tuple[int, ...]], like: Array) -> Parameters:
    """Parameters of these shapes, all zero, of the library, device and dtype of `like`."""
    size = sum(math.prod(shape) for shape in shapes.values())
    return Parameters(shapes, array_namespace(like).zeros((size,), dtype=like.dtype, device=like.device))
