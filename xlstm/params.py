"""All parameters of a model in one contiguous buffer, with named views on it; the same for their gradients.

So an optimiser step, a norm, a checkpoint or a copy to another device is one array, whatever the number of names.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from .arrays import numbers_like
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
        xp = array_namespace(flat, anywhere=True)
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
        try:
            return self._views[name]
        except (KeyError, TypeError):
            raise self._unknown(name) from None

    def _unknown(self, name: object) -> KeyError:
        return KeyError(f"there is no parameter {name!r}; there are: {', '.join(self._views)}.")

    def __iter__(self) -> Iterator[str]:
        return iter(self._views)

    def __len__(self) -> int:
        return len(self._views)

    def __setitem__(self, name: str, values: Any) -> None:
        view = self[name]
        view[...] = numbers_like(view, name, values)

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


class Joined:
    """Several sets of parameters as one buffer, one after the other: for an optimiser of a layer and its head.

    Of a single set it is the set's own buffer; of more a copy, which `write` brings back.

    Parameters
    ----------
    sets
        At least one; all of one library, device and dtype.

    Raises
    ------
    ValueError
        If they are not alike, or two of them have parameters in common.
    """

    def __init__(self, sets: Sequence[Parameters]) -> None:
        self.sets = list(sets)
        first = self.sets[0].flat
        xp = array_namespace(*(one.flat for one in self.sets), anywhere=True)
        kinds = {(str(one.flat.dtype), str(one.flat.device)) for one in self.sets}
        if len(kinds) > 1:
            told = " and ".join(sorted(f"{dtype} on {device}" for dtype, device in kinds))
            raise ValueError(f"parameters that are stepped together must be of one dtype and device, got {told}.")
        for k, one in enumerate(self.sets):
            if any(_overlap(xp, one.flat, other.flat) for other in self.sets[:k]):
                raise ValueError(
                    "the same parameters are given twice, or a set and a part of it: they would be stepped on twice."
                )
        self.size = sum(one.flat.shape[0] for one in self.sets)
        self._xp, self._like = xp, first

    def shapes(self) -> list[dict[str, tuple[int, ...]]]:
        """The shapes of each set by its names."""
        return [dict(one.shapes) for one in self.sets]

    def check_same(self, shapes: Sequence[Mapping[str, tuple[int, ...]]] | None, like: Array) -> None:
        """Raise where these are others than an optimiser was made for.

        Parameters
        ----------
        shapes
            The names and shapes that it was made for, set by set; None asks only for the size.
        like
            A moment of it, of the size, dtype, library and device of the buffer.
        """
        remedy = "Pass the same parameters as when it was made, or make one for these."
        if self.size != like.shape[0]:
            raise ValueError(
                f"this optimiser was made for {like.shape[0]} parameters, got {self.size}: {self}. {remedy}"
            )
        if shapes is not None and not self._has_shapes(shapes):
            told = " and ".join(
                f"({', '.join(f'{name} {tuple(shape)}' for name, shape in one.items())})" for one in shapes
            )
            raise ValueError(
                f"this optimiser was made for the parameters {told}, in this order, got others: {self}. {remedy}"
            )
        array_namespace(self._like, like, anywhere=True)  # which says so, where they are of different libraries
        if self._like.dtype != like.dtype or self._like.device != like.device:
            raise ValueError(
                f"this optimiser was made for parameters of {like.dtype} on {like.device}, got {self._like.dtype} on "
                f"{self._like.device}. {remedy}"
            )

    def _has_shapes(self, shapes: Sequence[Mapping[str, tuple[int, ...]]]) -> bool:
        """Whether the sets have these names and shapes, in this order."""
        return len(shapes) == len(self.sets) and all(
            own.shapes == wanted and [*own] == [*wanted] for own, wanted in zip(self.sets, shapes, strict=True)
        )

    def check_floating(self) -> None:
        """Raise where they are no real numbers of a floating type, which nothing can be learnt with."""
        if not self._xp.isdtype(self._like.dtype, "real floating"):
            raise TypeError(f"parameters must be real numbers of a floating type, got dtype {self._like.dtype}.")

    def flat(self) -> Array:
        """One buffer with the values of all sets."""
        return self._like if len(self.sets) == 1 else self._xp.concat([one.flat for one in self.sets])

    def write(self, flat: Array) -> None:
        """Bring the values of such a buffer back to the sets."""
        if flat is self._like:
            return
        start = 0
        for one in self.sets:
            end = start + one.flat.shape[0]
            one.flat[...] = flat[start:end]
            start = end

    def by_name(self, rule: Callable[[str], bool]) -> Array:
        """A buffer with 1 for the parameters whose names the rule holds for, 0 for the others."""
        made = [zeros(one.shapes, one.flat) for one in self.sets]
        for one in made:
            for name in one:
                one[name] = float(rule(name))
        return made[0].flat if len(made) == 1 else self._xp.concat([one.flat for one in made])

    def gathered(self, what: str, given: Any, kinds: tuple[str, ...] = ("real floating",)) -> Array:
        """`given` in the order of the buffer: a flat buffer, or for each set a mapping with its names and shapes.

        Parameters
        ----------
        what
            What messages call them: "gradients".
        kinds
            Of which of the standard's kinds of dtype they may be.

        Raises
        ------
        ValueError, TypeError
            If they are of other names or shapes, of another form, or of another library.
        """
        if not isinstance(given, (Mapping, list, tuple)):
            return self._part(what, given, None, (self.size,), kinds)
        several = [given] if isinstance(given, Mapping) else list(given)
        if len(several) != len(self.sets):
            raise ValueError(
                f"{what} of {len(several)} sets for the parameters of {len(self.sets)}: {self}. Pass one for each."
            )
        parts = []
        for one, own in zip(self.sets, several, strict=True):
            if isinstance(own, Parameters) and own.shapes == one.shapes and [*own] == [*one]:
                parts.append(self._part(what, own.flat, None, one.flat.shape, kinds))
                continue
            if not isinstance(own, Mapping):
                parts.append(self._part(what, own, None, one.flat.shape, kinds))
                continue
            if own.keys() != one.keys():
                lacking, more = [name for name in one if name not in own], [name for name in own if name not in one]
                told = [f"{', '.join(map(str, names))} {which}"
                        for names, which in ((lacking, "missing"), (more, "unknown")) if names]  # fmt: skip
                raise ValueError(f"these are {what} of other parameters ({'; '.join(told)}): expected those of {one}.")
            values = [self._part(what, own[name], name, shape, kinds) for name, shape in one.shapes.items()]
            parts.append(self._xp.concat([self._xp.reshape(array, (-1,)) for array in values]))
        return parts[0] if len(parts) == 1 else self._xp.concat(parts)

    def _part(self, what: str, array: Any, name: str | None, shape: tuple[int, ...], kinds: tuple[str, ...]) -> Array:
        """One array of what is given, checked, in the dtype of the parameters."""
        called = what if name is None else f"{what} of {name}"
        if isinstance(array, Mapping) or not hasattr(array, "shape"):
            raise TypeError(
                f"{called} must be an array of shape {tuple(shape)}, got {type(array).__name__}: pass layer.gradients, "
                "or a mapping of names to arrays."
            )
        try:
            xp = array_namespace(array, self._like, anywhere=True)
        except TypeError as error:
            raise TypeError(f"{called}: {error}") from None
        if tuple(array.shape) != tuple(shape):
            raise ValueError(f"{called} must have the shape {tuple(shape)}, got {tuple(array.shape)}.")
        if array.dtype == self._like.dtype:
            return array
        if not xp.isdtype(array.dtype, kinds):
            wanted = "a floating type" if kinds == ("real floating",) else "real numbers"
            raise TypeError(f"{called} must be of {wanted}, got dtype {array.dtype}.")
        return xp.astype(array, self._like.dtype)

    def __repr__(self) -> str:
        return " and ".join(map(repr, self.sets))


def joined(name: str, given: Any) -> tuple[Joined, bool]:
    """The sets of parameters that were given, and whether they have names; a flat buffer is one set without."""
    if isinstance(given, Parameters):
        return Joined([given]), True
    if isinstance(given, (list, tuple)) and given and all(isinstance(one, Parameters) for one in given):
        return Joined(given), True
    what = "pass layer.parameters, a list of several ([layer.parameters, head]), or a flat buffer (P,)"
    if isinstance(given, (list, tuple)):
        kinds = ", ".join(sorted({type(one).__name__ for one in given})) or "nothing"
        raise TypeError(f"{name} is a {type(given).__name__} of {kinds}: {what}.")
    if isinstance(given, Mapping):
        raise TypeError(
            f"{name} is a {type(given).__name__}, which has not the one buffer that is stepped: {what}. Arrays of your "
            "own become such parameters as xlstm.params.Parameters(shapes, flat)."
        )
    if isinstance(getattr(given, "parameters", None), Parameters):
        raise TypeError(f"{name} is a layer, {type(given).__name__}: {what}.")
    try:
        array_namespace(given, anywhere=True)
    except TypeError as error:
        raise TypeError(f"{name} is of type {type(given).__name__}: {what}.") from error
    if len(given.shape) != 1:
        raise ValueError(f"a flat buffer of parameters is (P,), got shape {tuple(given.shape)}.")
    return Joined([Parameters({"the buffer": tuple(given.shape)}, given)]), False


def _overlap(xp: Any, one: Array, other: Array) -> bool:
    """Whether two buffers have memory in common; where a library does not say, whether they are the same array."""
    if one is other:
        return True
    if hasattr(xp, "may_share_memory"):  # NumPy and CuPy
        return bool(xp.may_share_memory(one, other))
    if hasattr(one, "data_ptr"):  # PyTorch
        first, second = one.data_ptr(), other.data_ptr()
        size = one.element_size()
        return bool(first < second + size * other.shape[0] and second < first + size * one.shape[0])
    return False
