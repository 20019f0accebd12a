"""Host data that does not fit on a GPU: brought there block by block, each while the one before is computed.

Two pieces of pinned host memory take turns, since only from such memory a copy runs beside the host's and the GPU's own
work. A stream of its own copies. Events order it with the stream on which the caller computes:

    the caller's   | … block 0 …            | … block 1 …            |
    the copies'    | block 1 (after block -1's work) | block 2 …     |

Data that fits takes the same way, in pieces of one array: as one copy it would pin as much memory as it has.

The arrays on the device belong to the caller's stream, on which they are allocated: so a copy waits for all that was
asked of that stream before, which may still read the memory that the new array now has.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from .cuda.errors import OUT_OF_MEMORY, first_line, status_of

PIECE = 2**26
"""How many bytes of an array are brought at once where it is brought whole."""


class Sent(NamedTuple):
    """A block on its way."""

    array: Any  # on the device; not to be used before `Conveyor.arrived`
    event: Any  # on the copies' stream: after the copy


class _Slot:
    """One piece of pinned memory, and the event after the last copy from it."""

    def __init__(self, cupy: Any) -> None:
        self._cupy, self._memory, self._bytes = cupy, None, 0
        self.event = cupy.cuda.Event(block=True, disable_timing=True)
        self.used = False

    def view(self, shape: tuple[int, ...], dtype: Any) -> Any:
        """A NumPy array in the memory, once the last copy from it has ended."""
        self.wait()
        dtype, count = np.dtype(dtype), math.prod(shape)
        needed = max(1, count * dtype.itemsize)  # an empty block has a place too
        if self._bytes < needed:
            self._memory, self._bytes = None, 0  # the old is given back before the new is asked for
            self._memory = self._pinned(needed)
            self._bytes = needed
        return np.frombuffer(self._memory, dtype, count).reshape(shape)  # type: ignore[call-overload]

    def _pinned(self, size: int) -> Any:
        try:
            return self._cupy.cuda.alloc_pinned_memory(size)
        except Exception as error:
            if status_of(error) != OUT_OF_MEMORY:
                raise
            # As of the device's memory, CUDA says of the host's that it is out of it.
            raise MemoryError(
                f"the host has no pinned memory left, from which data goes to the GPU ({size} bytes; "
                f"{first_line(error)}). Make the batches smaller (batch_size), end other programs, or raise the limit "
                "of locked memory that the system or the container sets."
            ) from error

    def wait(self) -> None:
        if self.used:
            self.event.synchronize()


class Conveyor:
    """See this file. It belongs to one device, and is used inside its context.

    Parameters
    ----------
    cupy
        The module.
    number
        Of the device.
    """

    def __init__(self, cupy: Any, number: int) -> None:
        self._cupy = cupy
        with cupy.cuda.Device(number):
            self._copies = cupy.cuda.Stream(non_blocking=True)  # any other would wait for the null stream
            self._slots = [_Slot(cupy), _Slot(cupy)]

    def send(self, shape: tuple[int, ...], dtype: Any, fill: Callable[[Any], None]) -> Sent:
        """Start a block on its way: `fill` writes it into the NumPy array that it is given."""
        host = self._next().view(shape, dtype)
        fill(host)
        array = self._new(shape, host.dtype)
        return Sent(array, self._copied(host, array))

    def whole(self, host: Any) -> Any:
        """A host array on the device, for the caller's current stream."""
        array = self._new(host.shape, host.dtype)
        rows = max(1, PIECE * len(host) // max(1, host.nbytes))
        for start in range(0, len(host), rows):
            piece = host[start : start + rows]
            pinned = self._next().view(piece.shape, piece.dtype)
            pinned[...] = piece
            event = self._copied(pinned, array[start : start + rows])
            self._cupy.cuda.get_current_stream().wait_event(event)
        self.finish()
        return array

    def _next(self) -> _Slot:
        """The memory that waited longer."""
        self._slots.reverse()
        return self._slots[0]

    def _new(self, shape: tuple[int, ...], dtype: Any) -> Any:
        """An array of the caller's stream, which the copies' stream may write."""
        array = self._cupy.empty(shape, dtype=dtype)
        self._copies.wait_event(self._cupy.cuda.get_current_stream().record())
        return array

    def _copied(self, pinned: Any, array: Any) -> Any:
        """Start the copy from the memory in use; the event after it."""
        slot = self._slots[0]
        array.set(pinned, stream=self._copies)
        slot.event.record(self._copies)
        slot.used = True
        return slot.event

    def arrived(self, sent: Sent) -> Any:
        """The block on the device: the caller's current stream waits for it, the host does not."""
        self._cupy.cuda.get_current_stream().wait_event(sent.event)
        return sent.array

    def finish(self) -> None:
        """Return when nothing is on its way: before memory is given up that a copy still writes."""
        for slot in self._slots:
            slot.wait()
