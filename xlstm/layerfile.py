"""What a file keeps of a layer, and the layer of such a header: `save` and `load` of every layer.

The format, and what every header is asked, are those of `checkpoint`. A header may hold anything: sizes are compared
before anything of that size is made, and what does not fit together is a ValueError.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from .backends import KERNELS, PRECISIONS, Backend, portable
from .cells import CELLS
from .checks import DTYPES, MOST_LAYERS, checked, positive
from .messages import told
from .stack import Sizes

if TYPE_CHECKING:
    from .params import Parameters

KIND = "layer"
"""The name by which files know layers."""
PARTS = ("kind", "layer", "generator")
PARTS_BEFORE: dict[str, Any] = {}
"""Of each part that came after the first files of layers, what a file without it stands for. They never change."""
SETTINGS: dict[str, type] = {
    "cell": str, "input_size": int, "hidden_size": int, "num_layers": int, "bidirectional": bool,
    "dropout": float, "dtype": str, "init": str, "kernels": str, "precision": str,
}  # fmt: skip
"""What a layer is made with, as a file has it."""
SETTINGS_BEFORE: dict[str, Any] = {"precision": "highest"}
"""Of each setting that came later, what a file without it stands for. They never change."""

Self = TypeVar("Self", bound="SavedLayer")


class SavedLayer:
    """A layer that goes to a file and comes back: a part of `RecurrentLayer`."""

    cell: str = ""
    parameters: Parameters
    backend: Backend
    _generator: np.random.Generator

    @property
    def precision(self) -> str:
        """What its products may be computed with: as the constructor was told, for good."""
        return str(self.__dict__.get("precision", "highest"))  # pickles from before there was one lack it

    @classmethod
    def of_cells(cls) -> tuple[str, ...]:
        """The cells that the class is the layer of; for most there is one."""
        return (cls.cell,)

    def settings(self) -> dict[str, Any]:
        """What it was made with, by the names of `SETTINGS`."""
        raise NotImplementedError

    @classmethod
    def of_settings(
        cls: type[Self], settings: Mapping[str, Any], values: Any, generator: np.random.Generator, device: str | None
    ) -> Self:
        """A layer of such settings, with all its parameters in one flat host array."""
        raise NotImplementedError

    def save(self, path: Any) -> None:
        """Write the layer to one file, whole or not at all: `xlstm.load` or the `load` of its class reads it.

        The file holds what the layer was made with, its parameters to the bit, and the generator of its dropout masks:
        training goes on from it as it would have. (Of a generator other than NumPy's default, PCG64, the file has
        nothing: the loaded layer draws from a new one.) Gradients, and the device, stay behind.

        Parameters
        ----------
        path
            The file; an older one of the name is replaced.

        Raises
        ------
        OSError
            If it cannot be written. The older file is then untouched.
        """
        from . import checkpoint

        generator = dict(self._generator.bit_generator.state)
        header = {
            "kind": KIND,
            "layer": self.settings(),
            "generator": generator if generator["bit_generator"] == "PCG64" else None,
        }
        checkpoint.write_header(path, header, [self.backend.to_host(self.parameters.flat)])

    @classmethod
    def load(cls: type[Self], path: Any, device: str | None = None) -> Self:
        """The layer that `save` wrote, on whatever device; a file of anything else is refused.

        Its gradients are zero. Compiled kernels that the other machine had may be missing here: the layer then runs
        without them.

        Parameters
        ----------
        path
            The file.
        device
            As in the constructor.

        Raises
        ------
        ValueError
            If the file holds another kind of layer, or no layer (both are named); if it is damaged, truncated,
            foreign, or of a newer version.
        OSError
            If it cannot be read.
        RuntimeError
            If a device was asked for that cannot be used.
        """
        from . import checkpoint

        header, arrays = checkpoint.read_state(path)
        name = os.fsdecode(path)
        if header.get("kind") != KIND:
            raise ValueError(
                f"{name} holds no layer, but the kind {told(header.get('kind'))}: load it with xlstm.load."
            )
        with checkpoint.understood(path):
            cell = cell_of(header)
            if cell in cls.of_cells():
                return restored(header, arrays, device, cls)
        raise ValueError(
            f"{name} holds a layer of the cell {cell!r}, and {cls.__name__}.load reads "
            f"{' and '.join(map(repr, cls.of_cells()))} alone: load it with xlstm.load."
        )


def cell_of(header: Mapping[str, Any]) -> str:
    """The cell that a layer's header names.

    Raises
    ------
    xlstm.checkpoint.NotUnderstood
        If there is none of the name, or no name.
    """
    from . import checkpoint

    with checkpoint.understanding():
        cell = header["layer"]["cell"]
        if type(cell) is not str or cell not in CELLS:
            raise ValueError(
                f"it holds a layer of the cell {told(cell)}, which is not known here (known are {', '.join(CELLS)}): "
                "register it first (xlstm.cells.register); or a newer xlstm wrote it, or it is damaged"
            )
        return cell


def restored(header: dict[str, Any], arrays: list[Any], device: str | None, cls: type[Self]) -> Self:
    """The layer of such a header and arrays, on a device: the contrary of `SavedLayer.save`.

    Parameters
    ----------
    cls
        The class of the layer; it has to be that of the cell: see `cell_of`.

    Raises
    ------
    xlstm.checkpoint.NotUnderstood
        If they are not what `save` wrote: a ValueError that says what is wrong.
    """
    from . import checkpoint

    with checkpoint.understanding():
        checkpoint.same_names(header, PARTS, "part", PARTS_BEFORE)
        header = {**PARTS_BEFORE, **header}
        settings = _settings(header["layer"])
        # The size that the settings ask for is compared before a layer of that size is built.
        sizes = Sizes(*(settings[name] for name in Sizes._fields))
        wanted = (sizes.parameter_count(),)
        if [array.shape for array in arrays] != [wanted] or str(arrays[0].dtype) != settings["dtype"]:
            raise ValueError(
                f"the arrays are {[(array.shape, str(array.dtype)) for array in arrays]}, expected one of {wanted} in "
                f"{settings['dtype']}"
            )
        generator = np.random.default_rng()
        if header["generator"] is not None:
            generator.bit_generator.state = header["generator"]
    return cls.of_settings(settings, arrays[0], generator, device)


def _settings(found: Any) -> dict[str, Any]:
    from . import checkpoint

    checkpoint.same_names(found, SETTINGS, "setting of a layer", SETTINGS_BEFORE)
    settings = {**SETTINGS_BEFORE, **found}
    for name, kind in SETTINGS.items():
        if type(settings[name]) is not kind:
            raise ValueError(f"{name} is {told(settings[name])}")
    for name in ("input_size", "hidden_size"):
        positive(name, settings[name])
    positive("num_layers", settings["num_layers"], MOST_LAYERS)
    checked(settings["dropout"], settings["init"])
    for name, known in (("dtype", DTYPES), ("kernels", KERNELS), ("precision", PRECISIONS)):
        if settings[name] not in known:
            raise ValueError(f"{name} is {told(settings[name])}, expected one of {known}")
    # Compiled kernels that the other machine had may be missing here: the numbers are the same without them.
    settings["kernels"] = portable(settings["kernels"])
    return settings
