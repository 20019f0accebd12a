"""The road from a batch to its logits, and back: embedding → recurrent layers → final valid step → dropout → head.

All parameters stand in one buffer, under the names `embedding.weight` (where tokens are embedded), `recurrent.…` and
`head.…`; all gradients in another.

Shapes: N batch, T time, D features or V tokens, H hidden, S directions, F = S·H, K outputs.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from . import backends, head, layers, params
from .backends import Backend
from .encode import UNKNOWN
from .namespace import Array


class Architecture(NamedTuple):
    """What a model is built from: all that a file needs to build it again."""

    cell: str  # "lstm" or "rnn"
    input_size: int  # D for features, V for tokens
    tokens: bool
    embedding_size: int | None  # None: one-hot tokens
    hidden_size: int
    num_layers: int
    bidirectional: bool
    dropout: float
    outputs: int  # K
    dtype: str
    init: str


class Batch(NamedTuple):
    """One batch on the model's device."""

    x: Array  # (N, T, D), or None
    ids: Array  # (N, T), or None
    lengths: list[int]


class Tape(NamedTuple):
    """What one forward call of a model keeps."""

    ids: Array
    recurrent: layers.LayerTape
    features: Array  # (N, F), after dropout
    mask: Array  # (N, F), or None


class Model:
    """A final-step classifier without its training: parameters, forward and backward.

    Parameters
    ----------
    architecture
        What to build.
    backend
        Where to.
    kernels
        As for a layer.
    rng
        Where the weights are drawn from; None leaves them zero, to be written.

    Attributes
    ----------
    parameters, gradients : Parameters
        Everything, each in one buffer.
    kernels : str
        As asked for.
    recurrent : LSTM or RNN
        Its parameters are a section of the buffer.
    """

    def __init__(
        self, architecture: Architecture, backend: Backend, kernels: str, rng: np.random.Generator | None
    ) -> None:
        self.architecture, self.backend, self.kernels = architecture, backend, kernels
        a = architecture
        self.recurrent = layers.LAYERS[a.cell](
            a.embedding_size or a.input_size,
            a.hidden_size,
            num_layers=a.num_layers,
            bidirectional=a.bidirectional,
            dropout=a.dropout,
            dtype=a.dtype,
            device=backend.device,
            seed=rng,
            init=a.init,
            kernels=kernels,
            _draw=rng is not None,
        )
        F = self.recurrent.directions * a.hidden_size
        shapes: dict[str, tuple[int, ...]] = {}
        if a.embedding_size:
            shapes["embedding.weight"] = (a.input_size, a.embedding_size)
        shapes |= {f"recurrent.{name}": shape for name, shape in self.recurrent.parameters.shapes.items()}
        shapes |= {"head.weight": (a.outputs, F), "head.bias": (a.outputs,)}

        start = params.zeros(shapes, np.zeros(0, a.dtype))
        for name, view in self.recurrent.parameters.items():
            start[f"recurrent.{name}"] = backend.to_host(view)
        limit = (6 / (F + a.outputs)) ** 0.5 if a.init == "orthogonal" else F**-0.5
        if rng is not None:
            start["head.weight"] = rng.uniform(-limit, limit, (a.outputs, F))
            if a.init == "pytorch":
                start["head.bias"] = rng.uniform(-limit, limit, (a.outputs,))
            if a.embedding_size:
                start["embedding.weight"] = rng.standard_normal((a.input_size, a.embedding_size))
        self._silence_unknown(start)
        self._bind(shapes, start.flat)

    def _bind(self, shapes: dict[str, tuple[int, ...]], host_values: Any) -> None:
        with self.backend.current():
            self.parameters = params.Parameters(shapes, self.backend.from_host(host_values))
            self.gradients = params.zeros(shapes, self.parameters.flat)
            self.recurrent._bind(self.parameters.section("recurrent."), self.gradients.section("recurrent."))
            self.head = self.parameters.section("head.")
            self._table = self.parameters["embedding.weight"] if self.architecture.embedding_size else None

    def to(self, backend: Backend) -> Model:
        """A copy on another device."""
        other = Model(self.architecture, backend, self.recurrent._requested_kernels, None)
        other.write(self.read())
        return other

    def __getstate__(self) -> dict[str, Any]:
        # Copies and pickles are built anew: the layers' parameters have to stay views of the one buffer.
        kernels = self.recurrent._requested_kernels
        return {
            "architecture": self.architecture,
            "device": self.backend.device,
            "kernels": kernels,
            "values": self.read(),
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        backend = backends.select(state["device"])
        self.__init__(state["architecture"], backend, state["kernels"], None)  # type: ignore[misc]
        self.write(state["values"])

    def read(self) -> Any:
        """All parameters, a new flat host array."""
        return np.array(self.backend.to_host(self.parameters.flat))

    def write(self, host_values: Any) -> None:
        """Overwrite all parameters with such an array."""
        with self.backend.current():
            self.parameters.flat[...] = self.backend.from_host(host_values)

    def pack(self) -> None:
        """Order the layers' parameters as the kernels read them, once: for a copy that only answers from now on."""
        self.recurrent._pack()

    def silence_unknown(self) -> None:
        """Zero the parameters by which the unknown token acts, as they are from the start."""
        self._silence_unknown(self.parameters)

    def decayed(self) -> Array:
        """1 for each weight, 0 for each bias, like the buffer: what a penalty on large weights applies to."""
        host = params.zeros(self.parameters.shapes, np.zeros(0, self.architecture.dtype))
        for name in host:
            host[name] = 0.0 if "bias" in name else 1.0
        return self.backend.from_host(host.flat)

    def _silence_unknown(self, values: params.Parameters) -> None:
        """Zero all by which the unknown token acts: its embedding, or its columns in the first layer's weights.

        Applied to the start and to every gradient: the token that no training text holds stays without effect.
        """
        if not self.architecture.tokens:
            return
        if self.architecture.embedding_size:
            values["embedding.weight"][UNKNOWN, :] = 0
            return
        for suffix in ("l0", "l0_reverse")[: self.recurrent.directions]:
            values[f"recurrent.weight_ih_{suffix}"][:, UNKNOWN] = 0

    # ------------------------------------------------------------ forward

    def logits(self, batch: Batch) -> Array:
        """(N, K), without dropout and without a tape."""
        return self.continued(batch, None)[0]

    def continued(self, batch: Batch, state: Any) -> tuple[Array, Any]:
        """`logits` from a given state of the layers (None: zeros), and the state after the batch's last valid steps."""
        with self.recurrent._context():
            tokens = None if batch.ids is None else (batch.ids, self._table)
            _, finals, _ = self.recurrent._run(batch.x, state, batch.lengths, tokens, None, keep=False, outputs=False)
            return head.forward(self.head, self._final_step(finals)), self.recurrent._join_state(finals)

    def forward(self, batch: Batch, rng: np.random.Generator) -> tuple[Array, Tape]:
        """Logits (N, K), and a tape for `backward`. Dropout masks are drawn from `rng`."""
        with self.recurrent._context():
            tokens = None if batch.ids is None else (batch.ids, self._table)
            _, finals, recurrent_tape = self.recurrent._run(
                batch.x, None, batch.lengths, tokens, rng, keep=True, outputs=False
            )
            assert recurrent_tape is not None
            features, mask = self.recurrent._drop(self._final_step(finals), rng)
            return head.forward(self.head, features), Tape(batch.ids, recurrent_tape, features, mask)

    def _final_step(self, finals: list[Any]) -> Array:
        """(N, F): the last layer's h after the last valid step of each direction, side by side."""
        hs = [final[0] if isinstance(final, tuple) else final for final in finals[-self.recurrent.directions :]]
        return hs[0] if len(hs) == 1 else self.backend.namespace.concat(hs, axis=1)

    # ------------------------------------------------------------ backward

    def backward(self, tape: Tape, d_logits: Array) -> None:
        """From the loss's gradient (N, K) to that of every parameter, written to `gradients`."""
        H = self.architecture.hidden_size
        with self.recurrent._context():
            d_features, d_head = head.backward(self.head, tape.features, d_logits)  # (N, F)
            for name, gradient in d_head.items():
                self.gradients[f"head.{name}"][...] = gradient
            if tape.mask is not None:
                d_features = d_features * tape.mask
            # The loss reads the final h of the last layer alone: everywhere else the gradient that enters is zero.
            last = [d_features[:, k * H : (k + 1) * H] for k in range(self.recurrent.directions)]
            d_states: list[Any] = [None] * (len(tape.recurrent.cell_tapes) - len(last))
            d_states += [(dh, None) for dh in last] if self.architecture.cell == "lstm" else last
            d_table, _ = self.recurrent._run_back(
                tape.recurrent, None, d_states, self._table is not None, state_gradient=False
            )
            if self._table is not None:
                self.gradients["embedding.weight"][...] = d_table
            self._silence_unknown(self.gradients)
