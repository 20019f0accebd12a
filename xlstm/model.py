"""The road from a batch to its logits, and back: embedding → recurrent layers → readout → dropout → head.

All parameters stand in one buffer, under the names `embedding.weight` (where tokens are embedded), `recurrent.…`,
`readout.…` (where the readout has some) and `head.…`; all gradients in another.

Shapes: N batch, T time, D features or V tokens, H hidden, S directions, F = S·H, K outputs.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from . import backends, head, optim, params, stack
from .backends import Backend
from .checks import checked
from .encode import UNKNOWN
from .namespace import Array
from .prepared import check_precision
from .readout import READOUTS, Seen
from .stack import Sizes, Stack


class Architecture(NamedTuple):
    """What a model is built from: all that a file needs to build it again."""

    cell: str  # a name in the registry of cells
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
    readout: str = "final"  # a name in the registry of readouts

    @property
    def sizes(self) -> Sizes:
        """Of the recurrent layers."""
        D = self.embedding_size or self.input_size
        return Sizes(self.cell, D, self.hidden_size, self.num_layers, self.bidirectional)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Every parameter's shape by its name, in the order of the buffer."""
        sizes, K = self.sizes, self.outputs
        F = sizes.output_size
        shapes: dict[str, tuple[int, ...]] = {}
        if self.embedding_size:
            shapes["embedding.weight"] = (self.input_size, self.embedding_size)
        shapes |= {f"recurrent.{name}": shape for name, shape in sizes.shapes().items()}
        readout = READOUTS[self.readout]
        shapes |= {f"readout.{name}": shape for name, shape in readout.shapes(F).items()}
        return {**shapes, "head.weight": (K, readout.width(F)), "head.bias": (K,)}

    def parameter_count(self) -> int:
        """How many numbers the parameters are; computed without making anything of the model's size.

        Raises
        ------
        ValueError
            If a size is below 1.
        """
        if min(self.input_size, self.hidden_size, self.num_layers, self.outputs, self.embedding_size or 1) < 1:
            raise ValueError("a size is below 1")
        F, readout = self.sizes.output_size, READOUTS[self.readout]
        embedding = self.input_size * (self.embedding_size or 0)
        own: int = sum(math.prod(shape) for shape in readout.shapes(F).values())
        return embedding + self.sizes.parameter_count() + own + self.outputs * (readout.width(F) + 1)

    def flops_per_step(self, rows: int = stack.TYPICAL_ROWS) -> float:
        """Floating-point operations of one time step of `rows` sequences, forward: what `"auto"` decides by."""
        return self.sizes.flops_per_step(rows)


class Batch(NamedTuple):
    """One batch on the model's device."""

    x: Array  # (N, T, D), or None
    ids: Array  # (N, T), or None
    lengths: list[int]
    drawn: Any = None  # where each row stood when the batch was drawn, (N,) on the host; None where it stands


class Tape(NamedTuple):
    """What one forward call of a model keeps."""

    recurrent: stack.Tape
    saved: Any  # of the readout
    features: Array  # of the readout, (N, width) or (N, T, width), after dropout
    mask: Array  # like it, or None


class Progress(NamedTuple):
    """Where a sequence that comes in parts stands: the states of the layers, and what the readout carries."""

    states: list[Any]
    carry: Any


class Model:
    """Recurrent layers with a readout and a head, without their training: parameters, forward and backward.

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
    precision
        As for a layer.

    Attributes
    ----------
    parameters, gradients : Parameters
        Everything, each in one buffer.
    stack : Stack
        The recurrent layers: their parameters are a section of the buffer.
    readout
        What the head sees: one of `xlstm.readout.READOUTS`.
    """

    def __init__(
        self,
        architecture: Architecture,
        backend: Backend,
        kernels: str,
        rng: np.random.Generator | None,
        precision: str = "highest",
    ) -> None:
        self.architecture, self.backend = architecture, backend
        self.requested_kernels, self.precision = kernels, precision
        a, sizes = architecture, architecture.sizes
        checked(a.dropout, a.init)
        choice = backends.find(a.cell, backend, a.dtype, kernels, precision)
        self.kernels = choice.kernels
        self.readout = READOUTS[a.readout]
        host = params.zeros(a.shapes(), np.zeros(0, a.dtype))
        if rng is not None:
            self._start(host, rng)
        with backend.current():
            self.parameters = params.Parameters(host.shapes, backend.from_host(host.flat))
            self.gradients = params.zeros(host.shapes, self.parameters.flat)
        recurrent, its_gradients = self.parameters.section("recurrent."), self.gradients.section("recurrent.")
        self.stack = Stack(sizes, a.dropout, a.dtype, backend, choice, recurrent, its_gradients)
        self._d_head = self.gradients.section("head.")
        self._head, self._readout = self.parameters.section("head."), self.parameters.section("readout.")
        self._table = self.parameters["embedding.weight"] if a.embedding_size else None

    def _start(self, values: params.Parameters, rng: np.random.Generator) -> None:
        """Write the start of the parameters into host arrays."""
        a = self.architecture
        stack.start(a.sizes, a.init, rng, values.section("recurrent."))
        for name, drawn in head.start(values["head.weight"].shape, a.init, rng).items():
            values[f"head.{name}"] = drawn
        if a.embedding_size:
            values["embedding.weight"] = rng.standard_normal((a.input_size, a.embedding_size))
        self.silence_unknown(values)

    def to(self, backend: Backend) -> Model:
        """A copy on another device."""
        kernels = backends.elsewhere(self.requested_kernels, backend)
        other = Model(self.architecture, backend, kernels, None, self.precision)
        other.write(self.read())
        return other

    def __getstate__(self) -> dict[str, Any]:
        # Copies and pickles are built anew: the layers' parameters have to stay views of the one buffer.
        return {
            "architecture": self.architecture,
            "device": self.backend.device,
            "kernels": self.requested_kernels,
            "precision": self.precision,
            "values": self.read(),
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        backend = backends.select(state["device"])
        precision = state.get("precision", "highest")  # which older pickles do not have
        self.__init__(state["architecture"], backend, state["kernels"], None, precision)  # type: ignore[misc]
        self.write(state["values"])

    def read(self) -> Any:
        """All parameters, a new flat host array."""
        return np.array(self.backend.to_host(self.parameters.flat))

    def write(self, host_values: Any) -> None:
        """Overwrite all parameters with such an array."""
        with self.backend.current():
            self.parameters.flat[...] = self.backend.adopt(host_values)

    def pack(self, precision: str | None = None) -> None:
        """Let inference read a copy of the parameters in the kernels' own order: these must not be written any more.

        `precision` is what the cells' weights are stored in, `prepared.PRECISIONS`; the rest stays as it is.
        """
        check_precision(precision, self.stack, self.kernels)
        self.stack.pack(precision)

    def decayed(self) -> Array:
        """1 for each weight, 0 for each bias, like the buffer: what a penalty on large weights applies to."""
        host = params.zeros(self.parameters.shapes, np.zeros(0, self.architecture.dtype))
        for name in host:
            host[name] = float(optim.decays(name))
        return self.backend.from_host(host.flat)

    def silence_unknown(self, values: params.Parameters) -> None:
        """Zero all by which the unknown token acts: its embedding, or its columns in the first layer's weights.

        Applied to the start and to every gradient: the token that no training text holds stays without effect.
        """
        a = self.architecture
        if not a.tokens:
            return
        if a.embedding_size:
            values["embedding.weight"][UNKNOWN, :] = 0
            return
        for suffix in a.sizes.suffixes()[: a.sizes.directions]:  # of the first layer
            values[f"recurrent.weight_ih_{suffix}"][:, UNKNOWN] = 0

    # ------------------------------------------------------------ forward

    def logits(self, batch: Batch) -> Array:
        """(N, K), or (N, T, K) of every step, without dropout and without a tape."""
        with self.stack.context():
            return head.forward(self._head, self._features(batch))

    def features(self, batch: Batch) -> Array:
        """What the head sees, (N, width) or (N, T, width): as `logits`."""
        with self.stack.context():
            return self._features(batch)

    def _features(self, batch: Batch) -> Array:
        seen, _ = self._seen(batch, None)
        return self.readout.forward(self._readout, seen)[0]

    @property
    def width(self) -> int:
        """How many features the head sees of a sequence, or of each step."""
        return self.readout.width(self.stack.sizes.output_size)

    def continued(self, batch: Batch, progress: Progress | None) -> tuple[Array, Progress]:
        """`logits` of a sequence of which this is the next part, None for the first, and where it stands then."""
        with self.stack.context():
            seen, finals = self._seen(batch, None if progress is None else progress.states)
            carry = None if progress is None else progress.carry
            features, carry = self.readout.carried(self._readout, carry, seen)
            return head.forward(self._head, features), Progress(finals, carry)

    def forward(self, batch: Batch, rng: np.random.Generator | None) -> tuple[Array, Tape]:
        """Logits (N, K) or (N, T, K), and a tape for `backward`. Dropout masks are drawn from `rng`; None has none."""
        with self.stack.context():
            N, T = (batch.x if batch.ids is None else batch.ids).shape[:2]
            steps = (T,) if self.readout.each_step else ()
            outputs, finals, recurrent = self.stack.forward(
                batch.x,
                self._no_states(),
                batch.lengths,
                self._tokens(batch),
                rng,
                True,
                self.readout.needs_outputs,
                batch.drawn,
                then=[(N, *steps, self.readout.width(self.stack.sizes.output_size))],
            )
            assert recurrent is not None
            features, saved = self.readout.forward(self._readout, self._seen_of(batch, outputs, finals))
            mask = recurrent.dropout_masks[-1]
            if mask is not None:
                features = features * mask
            return head.forward(self._head, features), Tape(recurrent, saved, features, mask)

    def _seen(self, batch: Batch, states: list[Any] | None) -> tuple[Seen, list[Any]]:
        """What the readout is given, in inference, and the final states of all layers."""
        states = self._no_states() if states is None else states
        tokens, outputs = self._tokens(batch), self.readout.needs_outputs
        made, finals, _ = self.stack.forward(batch.x, states, batch.lengths, tokens, outputs=outputs)
        return self._seen_of(batch, made, finals), finals

    def _seen_of(self, batch: Batch, outputs: Array | None, finals: list[Any]) -> Seen:
        last = [self.stack.record.split("state", final)[0] for final in finals[-self.stack.sizes.directions :]]
        valid = None
        if outputs is not None and min(batch.lengths) < outputs.shape[1]:
            xp, device = self.backend.namespace, outputs.device
            lengths = getattr(batch.lengths, "on_device", None)
            lengths = xp.asarray(batch.lengths, device=device) if lengths is None else lengths
            valid = xp.arange(outputs.shape[1], dtype=lengths.dtype, device=device)[None, :] < lengths[:, None]
        return Seen(outputs, last, valid)

    def _no_states(self) -> list[Any]:
        return [None] * len(self.stack.of_cells)

    def _tokens(self, batch: Batch) -> Any:
        return None if batch.ids is None else (batch.ids, self._table)

    # ------------------------------------------------------------ backward

    def backward(self, tape: Tape, d_logits: Array, input_gradient: bool = False) -> Array | None:
        """From the loss's gradient, like the logits, to that of every parameter, written to `gradients`.

        With `input_gradient` the gradient of the batch's `x` is returned, (N, T, D). It has to have one: tokens as the
        vectors that the first layer reads, `dense`.
        """
        with self.stack.context():
            d_features, _ = head.backward(self._head, tape.features, d_logits, into=self._d_head)
            if tape.mask is not None:
                d_features = d_features * tape.mask
            d_seen, d_readout = self.readout.backward(self._readout, tape.saved, d_features)
            for name, gradient in d_readout.items():
                self.gradients[f"readout.{name}"][...] = gradient
            d_states = self._no_states()
            if d_seen.finals is not None:  # of the last layer's states, h alone is read
                nothing = (None,) * (len(self.stack.record.states) - 1)
                d_states[-len(d_seen.finals) :] = [self.stack.record.join((dh, *nothing)) for dh in d_seen.finals]
            table = self._table is not None and not input_gradient
            d_input, _ = self.stack.backward(
                tape.recurrent, d_seen.outputs, d_states, table or input_gradient, state_gradient=False
            )
            if table:
                self.gradients["embedding.weight"][...] = d_input
            self.silence_unknown(self.gradients)
            return d_input if input_gradient else None

    def dense(self, batch: Batch) -> Batch:
        """The same batch of tokens as the vectors (N, T, ·) that the first layer reads; of numbers it is as it is.

        The unknown token is zero, embedded or not.
        """
        if batch.ids is None:
            return batch
        xp, V = self.backend.namespace, self.architecture.input_size
        with self.stack.context():
            if self._table is not None:
                N, T = batch.ids.shape
                rows = xp.take(self._table, xp.reshape(batch.ids, (N * T,)), axis=0)
                return Batch(xp.reshape(rows, (N, T, rows.shape[1])), None, batch.lengths, batch.drawn)
            numbers = xp.arange(1, V + 1, dtype=batch.ids.dtype, device=batch.ids.device)
            one_hot = (batch.ids[:, :, None] + 1 == numbers) & (batch.ids[:, :, None] != UNKNOWN)
            x = xp.astype(one_hot, self.parameters.flat.dtype)
            return Batch(x, None, batch.lengths, batch.drawn)
