"""A model of what more threads can gain, for cores.py: the longest way through a call, from how the kernels divided it.

The kernels tell into how many tasks, teams and members a walk was divided, and what part of its operations the busiest
thread had: of the walk, and of the weight gradients (`xlstm.backends.cpu.crew`). What is not told is assumed, and can
be given: the speed of one core, the time of a message between two, how fast one core copies weights, how long it takes
to wake a thread. Not in the model: memory that all cores share, caches, a clock that falls, other programs, and rows of
different lengths.
"""

from __future__ import annotations

import argparse
import math
from typing import Any

from .shapes import Size, inference_flops, training_flops

PARTS = ("walk", "gradients", "waiting", "copies", "waking")
TILE, BLOCK_ROWS = 16, 1024  # as in kernels/: the units of a tile; the rows between two rounds of weight gradients
FEW = 8  # members that wait for each other without a tree: kernels/barrier.h


def add_options(made: argparse.ArgumentParser) -> None:
    made.add_argument("--core-gflops", type=float, default=100.0, help="of one core (default: 100)")
    made.add_argument("--message-ns", type=float, default=150.0, help="from core to core (default: 150)")
    made.add_argument("--copy-gb", type=float, default=8.0, help="a second, of one core (default: 8)")
    made.add_argument("--wake-ns", type=float, default=300.0, help="for each thread of a call (default: 300)")


def told(options: argparse.Namespace) -> str:
    return (
        f"Reckoned, not measured. Assumed: {options.core_gflops:g} GFLOP/s a core, {options.message_ns:g} ns from core "
        f"to core, {options.copy_gb:g} GB/s for a core that copies weights, {options.wake_ns:g} ns to wake a thread.\n"
        "Neither shared memory nor caches nor the clock are in the model. Percentages: of the time on so many threads."
    )


def seconds(size: Size, division: dict[str, dict[str, Any]], options: argparse.Namespace) -> dict[str, float]:
    """Of each part, on the longest way."""
    rate, message = options.core_gflops * 1e9, options.message_ns * 1e-9
    N, T, D, H = size
    forward_flops, made = inference_flops(size), dict.fromkeys(PARTS, 0.0)
    weights = 4.0 * 4 * H * (D + H)
    for direction, crew in division.items():
        backward = direction == "backward"
        threads = crew["threads"]
        walk_flops = forward_flops
        if backward:  # the input's gradient is not asked for; the weight gradients have as many operations as forward
            walk_flops = training_flops(size, input_gradient=False) - 2 * forward_flops
            made["gradients"] += forward_flops / rate * crew["gradients"]
        made["walk"] += walk_flops / rate * crew["walk"]
        blocks = math.ceil(T / max(1, BLOCK_ROWS // N)) if backward else 0
        rounds = math.ceil(crew["tasks"] / crew["teams"])
        waits_of_all, waits_of_team = 2 + 2 * blocks, rounds * T
        made["waiting"] += waits_of_all * wait(threads, message) + waits_of_team * wait(crew["members"], message)
        # Weights are packed, and their gradients written, by as many threads as there are tiles; read and written.
        sharing = min(threads, math.ceil(H / TILE))
        made["copies"] += 2 * weights * (1 + backward) / (options.copy_gb * 1e9) / sharing
        made["waking"] += crew["woken"] * options.wake_ns * 1e-9 if threads > 1 else 0.0
    return made


def wait(members: int, message: float) -> float:
    """A barrier: a message, and a part of one for each further line that is read, as several are on their way."""
    if members == 1:
        return 0.0
    if members <= FEW:
        return message * (1 + 0.25 * (members - 2))
    groups = math.ceil(members / FEW)
    return wait(FEW, message) + wait(min(groups, FEW), message) + message
