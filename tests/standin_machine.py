"""The machine of the stand-in for CuPy: GPUs with a pool of memory, streams that run side by side, counts."""

from __future__ import annotations

import bisect
import gc
import itertools
import threading
import weakref
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple

import numpy as np

STATUS = {
    1: "cudaErrorInvalidValue: invalid argument",
    2: "cudaErrorMemoryAllocation: out of memory",
    35: "cudaErrorInsufficientDriver: CUDA driver version is insufficient for CUDA runtime version",
    101: "cudaErrorInvalidDevice: invalid device ordinal",
    400: "cudaErrorInvalidResourceHandle: invalid resource handle",
    600: "cudaErrorNotReady: device not ready",
}


class CUDARuntimeError(RuntimeError):
    """As CuPy raises it: a status of CUDA's, its name and its meaning."""

    def __init__(self, status: int) -> None:
        super().__init__(STATUS[status])
        self.status = status


class CUDADriverError(RuntimeError):
    """`cupy.cuda.driver.CUDADriverError`."""


class OutOfMemoryError(MemoryError):
    """`cupy.cuda.memory.OutOfMemoryError`."""

    def __init__(self, size: int, total: int, limit: int = 0) -> None:
        limited = f", limit set to: {limit:,} bytes" if limit else ""
        super().__init__(f"Out of memory allocating {size:,} bytes (allocated so far: {total:,} bytes{limited}).")


class Race(AssertionError):
    """Work of two streams on one array, with no event and no synchronisation between: it would pass on a quiet GPU."""


@dataclass
class Counts:
    """What was done on the GPUs."""

    launches: int = 0
    """Kernels, products and copies on the device."""
    products: int = 0
    """Those of the launches that cuBLAS was asked for by address."""
    copies: int = 0
    """Those of the launches that only copy memory, as `a[...] = b` of two arrays of the same form does."""
    launched: Counter[str] = field(default_factory=Counter)
    """The launches by the names of their kernels; NumPy's name for what CuPy has a kernel of its own for."""
    allocations: int = 0
    """Arrays that got memory, from the pool in most cases."""
    allocated_bytes: int = 0
    driver_allocations: int = 0
    """The times that the pool had to ask the driver for memory (cudaMalloc, which stops the device)."""
    synchronizations: int = 0
    """The times that the host waited for the device."""
    to_device: int = 0
    to_device_bytes: int = 0
    to_host: int = 0
    to_host_bytes: int = 0

    def minus(self, before: Counts) -> Counts:
        return Counts(**{each.name: getattr(self, each.name) - getattr(before, each.name) for each in fields(self)})

    def copy(self) -> Counts:
        return self.minus(Counts())


# ---------------------------------------------------------------- memory

GUARD = 512
"""The bytes before and after each array, which no kernel may write: NaN in floats, so that reading them is seen too."""
UNIT = 512
"""The pool gives memory in multiples of so many bytes, and at multiples of them."""
POISON = 0xFF


class Chunk:
    """A piece of what the driver gave: what the pool knows of it. The bytes themselves are in `Block`."""

    __slots__ = ("arena", "free", "next", "number", "previous", "size", "used")

    def __init__(self, arena: Arena, size: int) -> None:
        self.arena, self.size, self.free = arena, size, False
        self.number = next(arena.numbers)
        self.previous: Chunk | None = None
        self.next: Chunk | None = None
        self.used: dict[Any, int] = {}  # by each stream, when it was last used: see `Clock`


class Arena:
    """The free chunks that were allocated for one stream of one device."""

    def __init__(self) -> None:
        self.free: list[tuple[int, int, Chunk]] = []
        self.numbers = itertools.count()  # of chunks of one size the oldest is taken: the same in each run

    def put(self, chunk: Chunk) -> None:
        chunk.free = True
        bisect.insort(self.free, (chunk.size, chunk.number, chunk))

    def remove(self, chunk: Chunk) -> None:
        chunk.free = False
        self.free.remove((chunk.size, chunk.number, chunk))

    def take(self, size: int) -> Chunk | None:
        """The smallest free chunk of at least this size; what is too much of it stays free."""
        at = bisect.bisect_left(self.free, (size, 0))
        if at == len(self.free):
            return None
        chunk = self.free[at][2]
        self.remove(chunk)
        if chunk.size > size:
            rest = Chunk(self, chunk.size - size)
            rest.used = dict(chunk.used)
            rest.previous, rest.next = chunk, chunk.next
            if chunk.next is not None:
                chunk.next.previous = rest
            chunk.next, chunk.size = rest, size
            self.put(rest)
        return chunk


def _later(times: dict[Any, int], others: dict[Any, int]) -> None:
    """The later of both, stream by stream, in the first."""
    for stream, time in others.items():
        if times.get(stream, 0) < time:
            times[stream] = time


class Block:
    """The memory of an array and of all its views: returned to the pool, and poisoned, when the last of them has gone.

    Attributes
    ----------
    bytes
        NumPy's array of its bytes, between two guards.
    written, used
        When each stream last wrote it, and when each last read or wrote it.
    """

    def __init__(self, gpu: Machine, number: int, nbytes: int) -> None:
        self._gpu, self.number = gpu, number
        memory = np.empty(nbytes + 2 * GUARD + UNIT, dtype=np.uint8)
        memory.fill(POISON)
        address = memory.ctypes.data
        begin = -address % UNIT
        self.guarded = memory[begin : begin + nbytes + 2 * GUARD]
        self.bytes = self.guarded[GUARD : GUARD + nbytes]
        self.address = address + begin + GUARD
        self.nbytes = nbytes
        self.chunk = gpu.pool(number).malloc(nbytes)
        self.written: dict[Any, int] = {}
        self.used: dict[Any, int] = {} if self.chunk is None else dict(self.chunk.used)
        gpu.register(self)

    def __del__(self) -> None:
        if not hasattr(self, "used"):
            return  # there was no memory for it
        self._gpu.forget(self)
        if self.chunk is not None:
            self.chunk.used = self.used
            self._gpu.pool(self.number).release(self.chunk)

    def check_guards(self) -> None:
        whole = (self.guarded[:GUARD] == POISON).all() and (self.guarded[GUARD + self.nbytes :] == POISON).all()
        assert whole, "a kernel wrote outside of an array"


class Pool:
    """`cupy.cuda.MemoryPool` for one device: what was freed is given again, to arrays of the same stream."""

    def __init__(self, gpu: Machine, number: int) -> None:
        self._gpu, self._number = gpu, number
        self._arenas: dict[Any, Arena] = {}
        self.used, self.total, self.limit = 0, 0, 0
        # Arrays end whenever Python likes, in any thread, and in the midst of what stands below.
        self._lock = threading.Lock()
        self._released: deque[Chunk] = deque()

    def malloc(self, nbytes: int) -> Chunk | None:
        size = -(-nbytes // UNIT) * UNIT
        if size == 0:
            return None
        with self._lock:
            self._take_back()
            chunk = self._malloc(size)
        self._settle()
        return chunk

    def _malloc(self, size: int) -> Chunk:
        arena = self._arenas.setdefault(self._gpu.stream_of(self._number).key, Arena())
        chunk = arena.take(size)
        if chunk is None:
            if not self._fits(size):
                self._free_all()
            if not self._fits(size):
                gc.collect()
                self._take_back()
                self._free_all()
            if not self._fits(size):
                raise OutOfMemoryError(size, self.total, self.limit)
            self._gpu.counts.driver_allocations += 1
            self.total += size
            chunk = Chunk(arena, size)
        self.used += size
        return chunk

    def _fits(self, size: int) -> bool:
        return self.total + size <= min(self.limit or self._gpu.memory, self._gpu.memory)

    def release(self, chunk: Chunk) -> None:
        self._released.append(chunk)
        self._settle()

    def _settle(self) -> None:
        """Take back what was released, unless somebody is at it who does so at the end."""
        while self._released and self._lock.acquire(blocking=False):
            try:
                self._take_back()
            finally:
                self._lock.release()

    def _take_back(self) -> None:
        while self._released:
            self._merged(self._released.popleft())

    def _merged(self, chunk: Chunk) -> None:
        self.used -= chunk.size
        arena = chunk.arena
        after, before = chunk.next, chunk.previous
        if after is not None and after.free:
            arena.remove(after)
            self._merge(chunk, after)
        if before is not None and before.free:
            arena.remove(before)
            self._merge(before, chunk)
            chunk = before
        arena.put(chunk)

    @staticmethod
    def _merge(first: Chunk, second: Chunk) -> None:
        first.size += second.size
        first.next = second.next
        if second.next is not None:
            second.next.previous = first
        _later(first.used, second.used)

    def free_all_blocks(self) -> None:
        """Everything goes back to the driver that is not a part of something which is in use."""
        with self._lock:
            self._take_back()
            self._free_all()

    def _free_all(self) -> None:
        for arena in self._arenas.values():
            for _, _, chunk in list(arena.free):
                if chunk.previous is None and chunk.next is None:
                    arena.remove(chunk)
                    self.total -= chunk.size

    def free_blocks(self) -> int:
        return sum(len(arena.free) for arena in self._arenas.values())


class MemoryPool:
    """`cupy.get_default_memory_pool()`: the pool of the current device."""

    def __init__(self, gpu: Machine) -> None:
        self._gpu = gpu

    def _pool(self) -> Pool:
        return self._gpu.pool(self._gpu.current)

    def used_bytes(self) -> int:
        return self._pool().used

    def total_bytes(self) -> int:
        return self._pool().total

    def free_bytes(self) -> int:
        return self._pool().total - self._pool().used

    def n_free_blocks(self) -> int:
        return self._pool().free_blocks()

    def free_all_blocks(self, stream: Any = None) -> None:
        self._pool().free_all_blocks()

    def set_limit(self, size: int | None = None, fraction: float | None = None) -> None:
        if size is not None and fraction is not None:
            raise ValueError("size and fraction cannot be specified at the same time")
        self._pool().limit = int(fraction * self._gpu.memory) if fraction is not None else size or 0

    def get_limit(self) -> int:
        return self._pool().limit


# ---------------------------------------------------------------- streams


class Stream:
    """`cupy.cuda.Stream`: work in order; nothing is known of the order of two streams but through events and waiting.

    Attributes
    ----------
    seen
        Of each stream, up to when its work has ended before the next work of this one starts.
    """

    null: Stream

    def __init__(
        self, null: bool = False, non_blocking: bool = False, ptds: bool = False, priority: int | None = None
    ) -> None:
        gpu = machine_now()
        if ptds or priority is not None:
            raise NotImplementedError("the stand-in has plain streams alone")
        gpu.check_device(gpu.current)
        self._make(gpu, gpu.current, 0 if null else gpu.new_handle(), non_blocking)
        self._anywhere = null

    def _make(self, gpu: Machine, number: int, ptr: int, non_blocking: bool) -> None:
        self._anywhere = False  # whether it is the null stream of whatever device is the current one
        self._gpu, self.device_id, self.ptr, self._non_blocking = gpu, number, ptr, non_blocking
        self.key = (number, ptr)
        clock = gpu.clocks.get(self.key)
        self.seen: dict[Any, int] = {} if clock is None else clock.seen
        if clock is None:
            gpu.clocks[self.key] = self
        self._before: list[Stream] = []
        self._waiting: list[Any] = []  # what is to be done when the host has waited

    @classmethod
    def default(cls, gpu: Machine, number: int, anywhere: bool = False) -> Stream:
        stream = cls.__new__(cls)
        stream._make(gpu, number, 0, False)
        stream._anywhere = anywhere
        return stream

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Stream) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)

    def __enter__(self) -> Stream:
        self._before.append(self._gpu.stream_of(self._gpu.current))
        return self.use()

    def __exit__(self, *exception: object) -> None:
        before = self._before.pop()
        self._gpu.streams[before.device_id] = before

    def use(self) -> Stream:
        own = self._own()
        if own.device_id != self._gpu.current:
            raise RuntimeError(
                f"This stream was not created on the current device: {own.device_id}, {self._gpu.current}"
            )
        self._gpu.streams[self._gpu.current] = own
        return self

    def tick(self) -> int:
        """The time of the next work, which knows all that the host and, by CUDA's rules, the null stream knew."""
        own = self._own()
        _later(own.seen, self._gpu.host_seen)
        for other in self._gpu.clocks.values():
            one_is_null = other.device_id == own.device_id and (own.ptr == 0) != (other.ptr == 0)
            if one_is_null and not (own._non_blocking or other._non_blocking):
                _later(own.seen, other.seen)
        time = own.seen.get(own.key, 0) + 1
        own.seen[own.key] = time
        return time

    def _own(self) -> Stream:
        return self._gpu.null_stream(self._gpu.current) if self._anywhere else self

    def synchronize(self) -> None:
        gpu, own = self._gpu, self._own()
        gpu.check_device(own.device_id)
        own.tick()
        gpu.host_waits(own.seen)

    def record(self, event: Event | None = None) -> Event:
        event = Event() if event is None else event
        event.record(self)
        return event

    def wait_event(self, event: Event) -> None:
        own = self._own()
        _later(own.seen, event.recorded or {})  # an event that was never recorded holds nothing up

    @property
    def done(self) -> bool:
        own = self._own()
        return self._gpu.host_seen.get(own.key, 0) >= own.seen.get(own.key, 0)

    def __repr__(self) -> str:
        return f"<Stream {self.ptr} (device {self.device_id})>"


class Event:
    """`cupy.cuda.Event`."""

    def __init__(self, block: bool = False, disable_timing: bool = False, interprocess: bool = False) -> None:
        self._gpu = machine_now()
        self._gpu.check_device(self._gpu.current)
        self._timed = not disable_timing
        self.ptr = self._gpu.new_handle()
        self.recorded: dict[Any, int] | None = None

    def record(self, stream: Stream | None = None) -> None:
        own = (self._gpu.stream_of(self._gpu.current) if stream is None else stream)._own()
        own.tick()
        self.recorded = dict(own.seen)
        self.at = self._gpu.counts.launches

    def synchronize(self) -> None:
        self._gpu.host_waits(self.recorded or {})

    @property
    def done(self) -> bool:
        seen = self._gpu.host_seen
        return all(seen.get(stream, 0) >= time for stream, time in (self.recorded or {}).items())


def get_elapsed_time(start_event: Event, end_event: Event) -> float:
    """In milliseconds; here each launch takes one."""
    for event in (start_event, end_event):
        if event.recorded is None or not event._timed:
            raise CUDARuntimeError(400)
        if not event.done:
            raise CUDARuntimeError(600)
    return float(end_event.at - start_event.at)


class PinnedMemory(bytearray):
    """`cupy.cuda.PinnedMemoryPointer`: host memory that copies go on from after the call; more of it than was asked."""

    @property
    def ptr(self) -> int:
        return np.frombuffer(self, np.uint8).ctypes.data

    def size(self) -> int:
        return len(self)


def alloc_pinned_memory(size: int) -> PinnedMemory:
    memory = PinnedMemory(max(UNIT, -(-size // UNIT) * UNIT))
    memory[:] = bytes([POISON]) * len(memory)
    machine_now().pinned.append((memory.ptr, memory))
    return memory


# ---------------------------------------------------------------- the machine


class Machine:
    """The GPUs of a machine, and what was done on them."""

    def __init__(self, devices: int, driver: bool, launch_error: Exception | None, memory: int) -> None:
        self.devices, self.driver, self.launch_error = devices, driver, launch_error
        self.memory = memory  # of each device
        self.counts = Counts()
        self.current = 0  # the number of the current device
        self.schedule = 0  # the seed of the schedule of kernels; 0 for the plain one
        self._pools: dict[int, Pool] = {}
        self._handles = 0
        self._addresses: list[int] = []  # where the blocks begin, in order
        self._blocks: dict[int, Any] = {}
        self._quarantine: deque[Any] = deque(maxlen=64)
        self.clocks: dict[Any, Stream] = {}
        self.streams: dict[int, Stream] = {}  # the current one of each device
        self._null: dict[int, Stream] = {}
        self.host_seen: dict[Any, int] = {}  # up to when the work of each stream has ended, as the host knows
        self.pinned: list[tuple[int, PinnedMemory]] = []
        self._in_flight: list[Transfer] = []

    @contextmanager
    def counting(self) -> Iterator[Counts]:
        """The counts of what is done inside: to be read once it has ended."""
        before, seen = self.counts.copy(), Counts()
        try:
            yield seen
        finally:
            vars(seen).update(vars(self.counts.minus(before)))

    def new_handle(self) -> int:
        self._handles += 1
        return 0x1000 + 16 * self._handles

    def check_driver(self) -> None:
        if not self.driver:
            raise CUDARuntimeError(35)

    def check_device(self, number: int) -> None:
        self.check_driver()
        if not 0 <= number < self.devices:
            raise CUDARuntimeError(101)

    # ------------------------------------------------------------ memory

    def pool(self, number: int) -> Pool:
        if number not in self._pools:
            self._pools[number] = Pool(self, number)
        return self._pools[number]

    def register(self, block: Block) -> None:
        if block.nbytes:
            bisect.insort(self._addresses, block.address)
            self._blocks[block.address] = weakref.ref(block)

    def forget(self, block: Block) -> None:
        if block.nbytes and self._blocks.pop(block.address, None) is not None:
            del self._addresses[bisect.bisect_left(self._addresses, block.address)]
            # Its last user may still hold its address: what is read there now is no number, and stays so for a while.
            block.guarded.fill(POISON)
            if block.nbytes < 2**20:
                self._quarantine.append(block.guarded)

    def block_at(self, address: int, nbytes: int = 1) -> Block:
        """The block that holds these bytes."""
        at = bisect.bisect_right(self._addresses, address) - 1
        block = self._blocks[self._addresses[at]]() if at >= 0 else None
        if block is None or address + nbytes > block.address + block.nbytes:
            raise RuntimeError(f"cudaErrorIllegalAddress: no array holds {nbytes} bytes at {address:#x}")
        return block  # type: ignore[no-any-return]

    def memory_info(self, number: int) -> tuple[int, int]:
        """The free and the whole bytes of a device's memory."""
        self.check_device(number)
        return self.memory - self.pool(number).total, self.memory

    # ------------------------------------------------------------ work

    def null_stream(self, number: int) -> Stream:
        if number not in self._null:
            self._null[number] = Stream.default(self, number)
        return self._null[number]

    def stream_of(self, number: int) -> Stream:
        """The current stream of a device."""
        return self.streams.get(number) or self.null_stream(number)

    def launch(
        self,
        name: str,
        reads: Iterable[Block] = (),
        writes: Iterable[Block] = (),
        *,
        kind: str | None = None,
        count: int = 1,
    ) -> None:
        """Count work on the current device, and see that its stream may touch what it touches.

        Parameters
        ----------
        kind
            `"products"` or `"copies"`, where it is one of these.
        """
        self.check_device(self.current)
        if self.launch_error is not None:
            raise self.launch_error
        self.counts.launches += count
        self.counts.launched[name] += count
        if kind is not None:
            setattr(self.counts, kind, getattr(self.counts, kind) + count)
        self.touch(self.stream_of(self.current), name, reads, writes)

    def touch(self, stream: Stream, name: str, reads: Iterable[Block] = (), writes: Iterable[Block] = ()) -> None:
        """Let a stream read and write blocks; Race where another stream may still be at work on them."""
        own = stream._own()
        time = own.tick()
        if len(self.clocks) > 1 or self.host_seen:
            for blocks, verb in ((reads, "written"), (writes, "used")):
                for block in blocks:
                    for other, when in getattr(block, verb).items():
                        if other != own.key and own.seen.get(other, 0) < when:
                            raise Race(
                                f"{name} on stream {own.ptr} touches memory that stream {other[1]} may not have "
                                f"{verb} yet: an event or a synchronisation has to stand between"
                            )
        for block in reads:
            block.used[own.key] = time
        for block in writes:
            block.used[own.key] = time
            block.written[own.key] = time

    def host_waits(self, seen: dict[Any, int]) -> None:
        """The host waits until the work of these streams up to these times has ended."""
        self.check_device(self.current)
        if self.launch_error is not None:
            raise self.launch_error
        self.counts.synchronizations += 1
        _later(self.host_seen, seen)
        there = [self.host_seen.get(each.stream, 0) >= each.time for each in self._in_flight]
        ended = [each for each, has in zip(self._in_flight, there, strict=True) if has]
        self._in_flight = [each for each, has in zip(self._in_flight, there, strict=True) if not has]
        for each in ended:
            each.end()

    def all_seen(self, number: int) -> dict[Any, int]:
        """The times of all work of a device."""
        return {key: stream.seen.get(key, 0) for key, stream in self.clocks.items() if key[0] == number}

    def reads_a_size(self) -> None:
        """What the size of a result depends on comes to the host."""
        self.fetched(8)
        self.stream_of(self.current).synchronize()

    # ------------------------------------------------------------ transfers

    def is_pinned(self, host: Any) -> bool:
        address = host.ctypes.data
        return any(start <= address < start + len(memory) for start, memory in self.pinned)

    def sent(self, host: Any, stream: Stream) -> None:
        """A transfer to the device was counted; from pinned memory it goes on after the call has returned."""
        self.counts.to_device += 1
        self.counts.to_device_bytes += host.nbytes
        if self.is_pinned(host):
            for each in self._in_flight:
                if not each.to_host and np.may_share_memory(each.host, host):
                    each.end()
                    raise Race("pinned memory is sent again while the copy from it may not have ended")
            own = stream._own()
            self._in_flight.append(Transfer(own.key, own.seen.get(own.key, 0), host, host.copy(), False))

    def fetched(self, nbytes: int) -> None:
        self.counts.to_host += 1
        self.counts.to_host_bytes += nbytes

    def will_fetch(self, host: Any, values: Any, stream: Stream) -> None:
        """A copy to the host that the host has not waited for: until it has, there is rubbish."""
        own = stream._own()
        np.copyto(host, np.nan if host.dtype.kind in "fc" else 1)
        self._in_flight.append(Transfer(own.key, own.seen.get(own.key, 0), host, values, True))


class Transfer(NamedTuple):
    """A copy that goes on after the call that asked for it."""

    stream: Any
    time: int
    host: Any
    values: Any  # what arrives; of a copy to the device what stood there when it was asked for
    to_host: bool

    def end(self) -> None:
        if self.to_host:
            self.host[...] = self.values
        elif not np.array_equal(self.host, self.values, equal_nan=self.host.dtype.kind in "fc"):
            raise Race("pinned memory was written while the copy from it to the device may not have ended")


machines: list[Machine] = []


def machine_now() -> Machine:
    assert machines, "an array of the stand-in for CuPy was used after its machine had gone"
    return machines[-1]
