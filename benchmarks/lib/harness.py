"""How everything here is timed: in blocks that take turns. Needs the standard library alone, so that any interpreter
can run it (against.py runs it in two)."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

PAUSE, WARM_UP = 0.06, 0.01  # seconds: onnxruntime's threads spin some 30 ms after a call, PyTorch's 3 ms

Call = Callable[[], Any]
Rounds = list[list[float]]
"""Seconds of single calls, by round."""


def block(call: Call, seconds: float) -> list[float]:
    """Seconds of single calls: of as many as take `seconds` together, two at least.

    Before them come a pause, for threads of another library that still spin, and a call or some that are not counted.
    """
    clock = time.perf_counter
    time.sleep(PAUSE)
    end = clock() + min(WARM_UP, seconds)
    call()
    while clock() < end:
        call()
    times: list[float] = []
    end = clock() + seconds
    while len(times) < 2 or clock() < end:
        begin = clock()
        call()
        times.append(clock() - begin)
    return times


def take_turns(calls: Mapping[str, Call], seconds: float, rounds: int) -> dict[str, Rounds]:
    """A block of each call in each round; each round begins with another call."""
    times: dict[str, Rounds] = {name: [] for name in calls}
    names = list(calls)
    for turn in range(rounds):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            times[name].append(block(calls[name], seconds))
    return times


def spread(values: Sequence[float]) -> dict[str, Any]:
    """Median, quartiles and number of values."""
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else [*values] * 3
    return {"median": middle, "quartiles": [low, high], "n": len(values)}


def of_all(rounds: Rounds) -> dict[str, Any]:
    """`spread` of all calls of all rounds."""
    return spread([seconds for block in rounds for seconds in block])


def speed(slower: Rounds, faster: Rounds) -> dict[str, float]:
    """How many times as fast as `slower` is `faster`: the median of the rounds' ratios, the lowest and the highest.

    A ratio is that of the medians of two blocks of one round, which were measured within the same seconds.
    """
    return between([statistics.median(a) / statistics.median(b) for a, b in zip(slower, faster, strict=True)])


def between(ratios: Sequence[float]) -> dict[str, float]:
    """The median of some rounds, the lowest and the highest."""
    return {"median": statistics.median(ratios), "lowest": min(ratios), "highest": max(ratios)}
