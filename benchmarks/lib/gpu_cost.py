"""A model of what an LSTM layer costs on a GPU, for each level: launches, operations, bytes, and from these a time.

It is computed, not measured. N batch, T time, D features, H hidden; R = N·T rows of all steps; B bytes of a number (4),
P bytes of one in products (4, or 2 where the precision has 16 bits).

    product                     operations       bytes
    input, all steps at once    2·R·D·4H         P·(R·D + 4H·D) + B·R·4H
    recurrence, each step       2·N·H·4H         P·(N·H + 4H·H) + 2·B·N·4H
    its gradient, each step     2·N·4H·H         P·(N·4H + 4H·H) + 2·B·N·H
    gradients of W_ih, W_hh, x  2·R·4H·(2D + H)  P·R·(3·4H + D + H) + 2·B·4H·(D + H) + B·R·D

    gates, each step forward    B·N·(2·4H + 4·H) bytes: z read and kept, c read and written, h twice written
    gates, each step backward   B·N·(2·4H + 6·H) bytes: z read, dz written, c twice, dc read and written, two dh read

The steps of all levels compute these. In array code each of its small kernels reads and writes as much as one gate. In
a persistent kernel the weights are not read in a step, but its blocks have to wait for each other.
"""

from __future__ import annotations

from typing import NamedTuple

GATES = 4
Span = tuple[float, float]
"""From the least to the most."""


class Gpu(NamedTuple):
    """What the model assumes of a GPU; numbers of the data sheet, but launches and L2, which are estimates."""

    name: str
    processors: int
    memory: float  # bytes a second
    cache: float  # the same of the L2 cache
    cache_bytes: float
    operations: dict[str, float]  # a second, by precision
    launch: Span  # seconds of the device from one kernel of a stream to the next
    launch_from_python: Span  # seconds of the host for a launch
    tile: int  # rows and columns of the smallest tile of a product: so many tiles, so many processors at work
    exchange: Span  # seconds in which the blocks of a persistent kernel tell each other their part of h
    share: float  # of the peak that the products in such a kernel reach at worst


H100 = Gpu(
    name="H100 SXM",
    processors=132,
    memory=3.35e12,
    cache=5.5e12,
    cache_bytes=50e6,
    operations={"highest": 67e12, "high": 494e12, "bfloat16": 989e12, "float16": 989e12},
    launch=(2e-6, 3e-6),
    launch_from_python=(5e-6, 12e-6),
    tile=32,
    exchange=(1.2e-6, 2e-6),
    share=0.25,
)


class Level(NamedTuple):
    """How a level does a step: launches of the device in it, forward and backward, and those once a call."""

    forward: int
    backward: int
    forward_once: int
    backward_once: int
    from_python: bool  # whether each launch is one of Python's, or one of a library in C
    persistent: bool = False  # whether one kernel does all steps, with the weights in its registers


LEVELS = {
    "reference": Level(23, 24, 10, 10, True),
    "fused": Level(2, 2, 1, 6, True),
    "cudnn": Level(2, 2, 5, 8, False),
    "cudnn, persistent": Level(0, 0, 6, 9, False, persistent=True),
}
"""Of the first two the launches of a step are counted by the tests. cuDNN's are those of its plain algorithm, a product
and a kernel a step, and of its persistent one, for equal lengths in float16."""


class Cost(NamedTuple):
    """Of one call, forward or backward."""

    launches: int
    operations: float
    bytes: float
    device: Span
    """Seconds of the device."""
    host: Span
    """Seconds of the host."""

    @property
    def seconds(self) -> Span:
        """The slower of both: the host prepares launches while the device works."""
        return max(self.device[0], self.host[0]), max(self.device[1], self.host[1])


def forward(
    level: str, size: tuple[int, int, int, int], precision: str = "highest", gpu: Gpu = H100, B: int = 4
) -> Cost:
    """Of a layer whose outputs and tape are kept. `size` is (N, T, D, H)."""
    N, T, D, H = size
    P, how, rows, Z = _width(precision, B), LEVELS[level], N * T, GATES * H
    whole = _product(gpu, precision, (rows, Z, D), P * (rows * D + Z * D) + B * rows * Z, cached=False)
    step = _step(gpu, how, precision, (N, Z, H), P * N * H + 2 * B * N * Z, P * Z * H)
    gates = B * N * (2 * Z + 4 * H) * _passes(level)
    return _sum(gpu, how.forward * T + how.forward_once, how.from_python, [(whole, 1), (step, T)], gates * T)


def backward(
    level: str, size: tuple[int, int, int, int], precision: str = "highest", gpu: Gpu = H100, B: int = 4
) -> Cost:
    """To the gradients of the input, the weights and the bias."""
    N, T, D, H = size
    P, how, rows, Z = _width(precision, B), LEVELS[level], N * T, GATES * H
    step = _step(gpu, how, precision, (N, H, Z), P * N * Z + 2 * B * N * H, P * Z * H)
    whole = [
        _product(gpu, precision, (Z, D, rows), P * rows * (Z + D) + 2 * B * Z * D, cached=False),
        _product(gpu, precision, (Z, H, rows), P * rows * (Z + H) + 2 * B * Z * H, cached=False),
        _product(gpu, precision, (rows, D, Z), P * rows * Z + B * rows * D, cached=False),
    ]
    gates = B * N * (2 * Z + 6 * H) * _passes(level)
    products = [(step, T), *((product, 1) for product in whole)]
    return _sum(gpu, how.backward * T + how.backward_once, how.from_python, products, gates * T)


def _width(precision: str, B: int) -> int:
    return 2 if precision in ("float16", "bfloat16") else B


def _passes(level: str) -> float:
    """How often the bytes of the gates are moved: array code reads two and writes one gate in each of its kernels."""
    kernels = LEVELS["reference"].forward - 3  # a product and two copies are none of them
    return 1.0 if level != "reference" else kernels * 3 / (2 * GATES + 4)


def _step(gpu: Gpu, how: Level, precision: str, shape: tuple[int, int, int], moved: float, weights: float) -> _Product:
    """The recurrent product of a step; in a persistent kernel its weights are there, and it waits for other blocks."""
    if not how.persistent:
        return _product(gpu, precision, shape, moved + weights, cached=True)
    operations = 2.0 * shape[0] * shape[1] * shape[2]
    best = max(operations / gpu.operations[precision], moved / gpu.cache)
    worst = max(operations / (gpu.operations[precision] * gpu.share), moved / gpu.cache)
    return _Product(operations, moved, (gpu.exchange[0] + best, gpu.exchange[1] + worst))


class _Product(NamedTuple):
    operations: float
    bytes: float
    seconds: Span


def _product(gpu: Gpu, precision: str, shape: tuple[int, int, int], moved: float, cached: bool) -> _Product:
    """(rows, columns, terms of each sum). At best all processors work at their peak; at worst those that get a tile."""
    rows, columns, terms = shape
    operations = 2.0 * rows * columns * terms
    tiles = -(-rows // gpu.tile) * -(-columns // gpu.tile)
    # What is read in each step stays in the cache, where it fits there.
    bandwidth = gpu.cache if cached and moved <= gpu.cache_bytes else gpu.memory
    peak = gpu.operations[precision]
    return _Product(
        operations,
        moved,
        (
            max(operations / peak, moved / bandwidth),
            max(operations / (peak * min(1.0, tiles / gpu.processors)), moved / bandwidth),
        ),
    )


def _sum(gpu: Gpu, launches: int, from_python: bool, products: list[tuple[_Product, int]], gates: float) -> Cost:
    work = [sum(product.seconds[end] * times for product, times in products) + gates / gpu.memory for end in (0, 1)]
    host = gpu.launch_from_python if from_python else gpu.launch
    return Cost(
        launches,
        sum(product.operations * times for product, times in products),
        sum(product.bytes * times for product, times in products) + gates,
        (launches * gpu.launch[0] + work[0], launches * gpu.launch[1] + work[1]),
        (launches * host[0], launches * host[1]),
    )


# ---------------------------------------------------------------- the table of docs/devices.md

TABLE = {
    "H 256, N 64": (64, 100, 256, 256),
    "H 512, N 64": (64, 100, 512, 512),
    "H 1024, N 128": (128, 100, 1024, 1024),
}
ROWS = (
    ("reference", "highest"),
    ("fused", "highest"),
    ("fused", "high"),
    ("cudnn", "highest"),
    ("cudnn", "high"),
    ("cudnn", "float16"),
    ("cudnn, persistent", "float16"),
)
EXPECTED = {
    "reference": ("150", "150", "155"),
    "fused": ("15–20", "15–20", "18–22"),
    "cudnn": ("8–10", "9–11", "12–16"),
    "cudnn, persistent": ("1.5–2", "1.7–2.2", "3–6"),
}
"""Microseconds of a forward step that were estimated beforehand, from measurements that others published, by size; they
are meant within a factor of two, and do not tell precisions apart."""
NOTHING = "–"
UNLIKE = {("H 1024, N 128", "fused", "highest"), ("H 1024, N 128", "cudnn", "highest")}
"""Of which they say nothing: there the products in float32 count, and what was published used TF32 or 16 bits."""


def told(span: Span, scale: float) -> str:
    low, high = (f"{value * scale:.1f}" if value * scale < 10 else f"{value * scale:.0f}" for value in span)
    return low if low == high else f"{low}–{high}"


HEADER = [
    "size",
    "level",
    "precision",
    "launches",
    "operations, M",
    "MB",
    "forward: device, host",
    "backward: device, host",
    "forward",
    "both",
    "forward, as others' figures suggest",
]


def table(gpu: Gpu = H100) -> list[list[str]]:
    """A row for each size, level and precision: what a time step takes, forward and backward; times in microseconds."""
    rows = []
    for column, (name, size) in enumerate(TABLE.items()):
        steps = size[1]
        for level, precision in ROWS:
            there, back = (cost(level, size, precision, gpu) for cost in (forward, backward))
            both = (there.seconds[0] + back.seconds[0], there.seconds[1] + back.seconds[1])
            scale = 1e6 / steps
            rows.append([
                name,
                level,
                precision,
                f"{there.launches / steps:.1f} + {back.launches / steps:.1f}",
                f"{there.operations / steps / 1e6:.0f} + {back.operations / steps / 1e6:.0f}",
                f"{there.bytes / steps / 1e6:.1f} + {back.bytes / steps / 1e6:.1f}",
                *(f"{told(cost.device, scale)}, {told(cost.host, scale)}" for cost in (there, back)),
                told(there.seconds, scale),
                told(both, scale),
                NOTHING if (name, level, precision) in UNLIKE else EXPECTED[level][column],
            ])  # fmt: skip
    return rows
