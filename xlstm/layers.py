"""Whole recurrent layers by their names: stacked, in one or both directions, with dropout between them.

Shapes: N batch, T time, D features, H hidden, L layers, S directions (1 or 2).
"""

from __future__ import annotations

from typing import Any

from . import layerfile
from .recurrent import RecurrentLayer


class LSTM(RecurrentLayer):
    """Long short-term memory layers: `xlstm.cells.lstm`, stacked, in one or both directions.

    Parameters
    ----------
    input_size, hidden_size
        D and H.
    num_layers
        How many layers are stacked, each reading the outputs of the one below.
    bidirectional
        A second set of parameters reads each sequence from its last valid step to its first; the outputs stand side by
        side, the forward direction first.
    dropout
        The fraction of the outputs between two layers that `forward` sets to zero, to the nearest 1/65536; calling the
        layer never does.
    dtype
        `"float32"` or `"float64"`.
    device
        `"cpu"`, `"cuda"`, `"cuda:N"` or `"auto"`. None stands for the environment variable XLSTM_DEVICE, else `"cpu"`.
    seed
        None, an integer or a generator: where the weights and the dropout masks are drawn from.
    init
        `"orthogonal"` (forget bias 1) or `"pytorch"` (all uniform in ±1/√H).
    kernels
        `"auto"`, the fastest there are; `"reference"`, the array code; `"compiled"`, kernels that were made for the CPU
        or the GPU, an error where there are none; `"fused"` or `"cudnn"`, that level of a CUDA GPU, an error where it
        cannot be used, as on the CPU: name the device too.
    precision
        What products in float32 may be computed with on a CUDA GPU: `"highest"`, float32 itself; `"high"`, TF32, which
        reads 10 bits of a mantissa; `"bfloat16"` or `"float16"`, which read 7 or 10, while parameters, sums and the
        optimiser stay float32. It is a permission: what cannot use it computes more precisely. The CPU does so always,
        and float64 is float64 everywhere.

    Attributes
    ----------
    parameters
        Mapping of name to array, writable views of one buffer: `weight_ih_l0` (4H, D), `weight_hh_l0` (4H, H),
        `bias_l0` (4H,), then `…_l0_reverse`, `…_l1` and so on; gates in the order i, f, g, o. From the second layer
        on, D is the number of the outputs below, S·H.
    gradients
        The same names and shapes: those of the last `backward` call, not a sum over calls.
    device, kernels
        Where it lives, and which implementation runs: the CPU's instruction set; on a CUDA GPU `"cudnn 9.…"` or
        `"fused"`, the level of most calls (those that it is not made for run on another); or `"reference"`.

    Examples
    --------
    >>> import numpy as np, xlstm
    >>> layer = xlstm.LSTM(input_size=3, hidden_size=4, seed=0)
    >>> outputs, (h, c) = layer(np.ones((2, 5, 3)), lengths=[5, 2])
    >>> outputs.shape, h.shape
    ((2, 5, 4), (1, 2, 4))
    >>> bool((h[0, 1] == outputs[1, 1]).all())  # the last valid step of the second row
    True
    """

    cell = "lstm"

    @classmethod
    def from_gate_matrices(
        cls,
        *,
        W_f: Any,
        W_i: Any,
        W_g: Any,
        W_o: Any,
        b_f: Any,
        b_i: Any,
        b_g: Any,
        b_o: Any,
        device: str | None = None,
        kernels: str = "auto",
        precision: str = "highest",
    ) -> LSTM:
        """One layer from four gate matrices that act on z = [h; x], h on top, as textbooks write them.

        Parameters
        ----------
        W_f, W_i, W_g, W_o
            (H, H+D), NumPy arrays; their dtype becomes the layer's.
        b_f, b_i, b_g, b_o
            (H,) or (H, 1).

        Raises
        ------
        ValueError
            If a shape does not fit; the matrix is named.
        TypeError
            If they are not all float32 or all float64.
        """
        from .convert import from_gate_matrices

        matrices = {"W_i": W_i, "W_f": W_f, "W_g": W_g, "W_o": W_o}
        biases = {"b_i": b_i, "b_f": b_f, "b_g": b_g, "b_o": b_o}
        return cls.of_values(from_gate_matrices(matrices, biases), device, kernels=kernels, precision=precision)


class GRU(RecurrentLayer):
    """Gated recurrent units: `xlstm.cells.gru`, stacked, in one or both directions.

    Everything is as in `LSTM`, but for the state, which is h (L·S, N, H) alone, and the weights, which have 3H rows:
    the gates r, u (PyTorch's z) and n. The reset-before GRU (`reset_after=False`) runs as array code everywhere.

    Parameters
    ----------
    reset_after
        Whether the reset gate acts after the recurrent product, as in PyTorch and cuDNN; there is then a parameter
        `bias_hn_l0` (H,) for each layer and direction. With False it acts before, as in the paper of Cho et al. (2014):
        the reset-before GRU, `"gru_reset_before"` where cells are named.
    """

    cell = "gru"

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bidirectional: bool = False,
        dropout: float = 0.0,
        dtype: str = "float32",
        device: str | None = None,
        seed: Any = None,
        init: str = "orthogonal",
        kernels: str = "auto",
        reset_after: bool = True,
        precision: str = "highest",
    ) -> None:
        self.cell = "gru" if reset_after else "gru_reset_before"
        super().__init__(
            input_size, hidden_size, num_layers, bidirectional, dropout, dtype, device, seed, init, kernels, precision
        )

    @classmethod
    def of_cells(cls) -> tuple[str, ...]:
        return ("gru", "gru_reset_before")

    @property
    def reset_after(self) -> bool:
        """Whether the reset gate acts after the recurrent product."""
        return self.cell == "gru"

    def __repr__(self) -> str:
        return f"{super().__repr__()[:-1]}, reset_after={self.reset_after})"


class RNN(RecurrentLayer):
    """Elman recurrent layers: `xlstm.cells.rnn`, stacked, in one or both directions.

    Everything is as in `LSTM`, but for the state, which is h (L·S, N, H) alone, and the weights, which have H rows.
    """

    cell = "rnn"

    @classmethod
    def from_matrices(
        cls,
        *,
        U: Any,
        V: Any,
        b_h: Any,
        device: str | None = None,
        kernels: str = "auto",
        precision: str = "highest",
    ) -> RNN:
        """One layer from the matrices of h = tanh(U·x + V·h + b_h).

        Parameters
        ----------
        U, V
            Input to hidden (H, D) and hidden to hidden (H, H), NumPy arrays; their dtype becomes the layer's.
        b_h
            (H,) or (H, 1).

        Raises
        ------
        ValueError
            If a shape does not fit; the matrix is named.
        TypeError
            If they are not all float32 or all float64.
        """
        from .convert import from_elman_matrices

        return cls.of_values(from_elman_matrices(U, V, b_h), device, kernels=kernels, precision=precision)


LAYERS: dict[str, type[RecurrentLayer]] = {kind.cell: kind for kind in (LSTM, RNN, GRU)}


def layer_of(cell: str) -> type[RecurrentLayer]:
    """The layer of a registered cell: one of `LAYERS`, or one without documentation of its own."""
    return LAYERS.get(cell) or type(cell, (RecurrentLayer,), {"cell": cell})


def restored(header: dict[str, Any], arrays: list[Any], device: str | None) -> RecurrentLayer:
    """The layer of a file's header and arrays, on a device: see `xlstm.layerfile.restored`."""
    cell = layerfile.cell_of(header)
    of_the_library = [kind for kind in LAYERS.values() if cell in kind.of_cells()]
    return layerfile.restored(header, arrays, device, (of_the_library or [layer_of(cell)])[0])
