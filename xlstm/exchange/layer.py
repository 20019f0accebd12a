"""Layers to other libraries and back: the methods that users type."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from ..layerfile import SavedLayer
from ..seeds import generator
from ..stack import Sizes

if TYPE_CHECKING:
    from ..host import HostArray
    from .arrays import Taken

Self = TypeVar("Self", bound="ExchangedLayer")


class ExchangedLayer(SavedLayer):
    """A layer that comes from other libraries and goes to them: a part of `RecurrentLayer`."""

    dropout: float
    dtype: str

    @property
    def sizes(self) -> Sizes:
        """What the layer is made of."""
        raise NotImplementedError

    @classmethod
    def from_torch(
        cls: type[Self],
        source: Any,
        *,
        prefix: str = "",
        dtype: Any = None,
        device: str | None = None,
        kernels: str = "auto",
        precision: str = "highest",
    ) -> Self:
        """A layer with the weights of a torch.nn.LSTM, GRU or RNN: all its layers and directions.

        Parameters
        ----------
        source
            The module; its `state_dict()`; or the path of a file that `torch.save` or safetensors wrote of the latter.
            Code in a file is never run (`weights_only=True`), and safetensors are read without PyTorch.
        prefix
            Of a state_dict of a larger module, where the layer stands in it: "encoder.lstm". What else there is, is
            left out.
        dtype
            None for that of the weights, which must then be float32 or float64; else what they are converted to.
        device, kernels, precision
            As in the constructor.

        Returns
        -------
        LSTM, GRU or RNN
            Its dropout is the module's; from a state_dict, which does not tell, 0. Nor does it tell the nonlinearity of
            an RNN, which has to be tanh.

        Raises
        ------
        ValueError
            If a name is missing or too many, a shape or the number of gates does not fit, a number is NaN or infinite;
            if the module has what no layer here has (a projection, relu); if a file is damaged. What it is, is named.
        TypeError
            If it is no such module, or the weights are of another dtype.
        ImportError
            For a file of `torch.save`, if PyTorch is not installed.
        OSError
            If the file cannot be read.
        """
        from . import torch

        return cls._of_taken(torch.taken(source, cls.of_cells(), prefix, dtype), device, kernels, precision)

    def to_torch(self) -> Any:
        """A torch.nn.LSTM, GRU or RNN on the CPU with these weights, dropout and dtype, and `batch_first=True`.

        Its first bias is the layer's and its second zero, but for a GRU's candidate. `xlstm.convert.to_torch` gives the
        state_dict alone, as NumPy arrays and without PyTorch.

        Raises
        ------
        ValueError
            If PyTorch has no such layer: a GRU with `reset_after=False`.
        ImportError
            If PyTorch is not installed.
        """
        from . import torch

        return torch.module_of(self.cell, self.sizes, self.dropout, self.dtype, self._on_host())

    @classmethod
    def from_safetensors(
        cls: type[Self],
        path: Any,
        *,
        prefix: str = "",
        dtype: Any = None,
        device: str | None = None,
        kernels: str = "auto",
        precision: str = "highest",
    ) -> Self:
        """A layer with the weights of a safetensors file with PyTorch's names: see `from_torch`.

        Neither PyTorch nor safetensors is needed. A checksum that `to_safetensors` wrote is compared; files of others
        have none, and damage to their numbers is not noticed.

        Parameters
        ----------
        path
            The file.
        prefix, dtype, device, kernels, precision
            As in `from_torch`. bfloat16 widens to float32 without loss, and counts as that.

        Raises
        ------
        ValueError, TypeError, OSError
            As `from_torch`.
        """
        from . import safetensors, torch

        found = torch.of_file(path, safetensors.read(path), cls.of_cells(), prefix, dtype)
        return cls._of_taken(found, device, kernels, precision)

    def to_safetensors(self, path: Any) -> None:
        """Write the weights to a safetensors file, with the names, shapes and gates of a PyTorch state_dict.

        It holds no more than the weights: `save` keeps all of the layer. A SHA-256 checksum stands in the metadata,
        where other readers ignore it.

        Parameters
        ----------
        path
            The file; an older one of the name is replaced whole.

        Raises
        ------
        ValueError
            If PyTorch has no such layer: a GRU with `reset_after=False`.
        OSError
            If it cannot be written.
        """
        from .. import convert
        from . import safetensors

        safetensors.write(path, convert.to_torch(self._on_host()))

    @classmethod
    def from_keras(
        cls: type[Self],
        source: Any,
        *,
        dtype: Any = None,
        device: str | None = None,
        kernels: str = "auto",
        precision: str = "highest",
    ) -> Self:
        """A layer with the weights of Keras 3's LSTM, GRU or SimpleRNN, or of several of them, one on the other.

        Parameters
        ----------
        source
            A layer, also in `Bidirectional`; a list of layers, the first one first; a model of such layers alone; or
            the path of the `.keras` or `.weights.h5` file of such a model, which is read without Keras (by h5py, the
            extra `keras`). Weights alone do not tell activations, which are then taken for the default ones.
        dtype
            None for that of the weights; else what they are converted to.
        device, kernels, precision
            As in the constructor.

        Returns
        -------
        LSTM, GRU or RNN
            With dropout 0: Keras's drops inputs in training, and is of no effect at inference.

        Raises
        ------
        ValueError
            If a layer has what none here has (other activations, `go_backwards`, `stateful`, a merge_mode other than
            "concat"), is of another kind, has no weights yet; if shapes do not fit, a number is NaN or infinite; if a
            file is damaged. What it is, is named.
        TypeError
            If it is none of these, or the weights are not float32 or float64.
        ImportError
            For a file, if h5py is not installed.
        OSError
            If the file cannot be read.
        """
        from . import keras

        return cls._of_taken(keras.taken(source, cls.of_cells(), dtype), device, kernels, precision)

    def to_keras(self, return_sequences: bool = True) -> Any:
        """A keras.Sequential of as many layers as this has, with these weights and dtype, without dropout.

        Keras needs one of its own backends; padded steps are left out by its `mask`, (N, T), in place of lengths.

        Parameters
        ----------
        return_sequences
            Whether the last layer gives its outputs at every step, or the final one alone.

        Raises
        ------
        ValueError
            If Keras has no such layer: a registered cell of one's own.
        ImportError
            If Keras is not installed.
        """
        from . import keras

        return keras.model_of(self.sizes, self.dtype, self._on_host(), return_sequences)

    def _on_host(self) -> Mapping[str, HostArray]:
        return {name: self.backend.to_host(values) for name, values in self.parameters.items()}

    @classmethod
    def _of_taken(cls: type[Self], found: Taken, device: str | None, kernels: str, precision: str) -> Self:
        how = {"dropout": found.dropout, "dtype": found.dtype, "init": "orthogonal"}
        settings = {**found.sizes._asdict(), **how, "kernels": kernels, "precision": precision}
        return cls.of_settings(settings, found.values, generator(None), device)
