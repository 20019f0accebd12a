"""Mean and standard deviation of numbers that come in parts, or lie on a device."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from .backends import Backend
from .host import HostArray
from .namespace import Array

CHUNK = 2**22
"""How many numbers of a series are scaled at once on a device: a part of its memory, and not as much as X itself."""


class Moments:
    """Mean and standard deviation of numbers that come in parts: those of all of them at once, to rounding.

    Part by part by the formulas of Chan, Golub and LeVeque ("Updating Formulae and a Pairwise Algorithm for Computing
    Sample Variances", 1979), in float64. What is added up are the numbers' distances to the first of them, divided by a
    power of two: neither sums nor squares overflow, nothing is rounded but the sums, and of numbers that are all alike
    the deviation is 0. NaN counts as not there.

    Parameters
    ----------
    D
        The number of features.

    Attributes
    ----------
    unit : (D,)
        The highest power of two that is not above the largest absolute value of each, 1 where all are 0.
    """

    def __init__(self, D: int) -> None:
        self._count, self._squares = np.zeros(D), np.zeros(D)  # how many; the sum of squared distances to the mean
        self.unit, self._shifted = np.ones(D), np.zeros(D)  # the mean distance to `_first`, in units
        self._peak = np.zeros(D)  # the largest so far, 0 where there is none
        self._first = np.full(D, np.nan)  # as it is; NaN where there is none yet

    def add(self, values: HostArray) -> None:
        """More of them, (S, D): a block, of which a few copies are made."""
        features = np.array(values.T, dtype=np.float64, order="C")  # (D, S): the sums run along memory
        if not features.shape[1]:
            return
        gone, count = None, np.full(len(features), float(features.shape[1]))
        first = features[:, 0]
        if np.isnan(features.max(axis=1, initial=0)).any():
            gone = np.isnan(features)
            first = np.take_along_axis(features, np.argmin(gone, axis=1)[:, None], axis=1)[:, 0]
            features[gone], count = 0, (~gone).sum(axis=1).astype(np.float64)
        self._first = np.where(np.isnan(self._first), first, self._first)
        top = np.maximum(features.max(axis=1, initial=0), -features.min(axis=1, initial=0))
        peak = np.maximum(self._peak, top)
        unit = power_of_two(peak)
        shrink = np.where(self._peak == 0, unit, self.unit) / unit
        self._shifted, self._squares = self._shifted * shrink, self._squares * shrink**2
        self._peak, self.unit = peak, unit
        features /= unit[:, None]
        features -= self._origin[:, None]
        if gone is not None:
            features[gone] = 0
        mean = features.sum(axis=1) / np.maximum(count, 1)
        features -= mean[:, None]
        if gone is not None:
            features[gone] = 0
        squares = np.square(features, out=features).sum(axis=1)
        total = np.maximum(self._count + count, 1)
        distance = mean - self._shifted
        self._shifted = self._shifted + distance * (count / total)
        self._squares = self._squares + squares + np.square(distance) * (self._count * count / total)
        self._count = self._count + count

    @property
    def _origin(self) -> HostArray:
        """The first of each, in units; 0 where there is none."""
        return np.where(np.isnan(self._first), 0.0, self._first) / self.unit

    @property
    def mean(self) -> HostArray:
        """(D,): of the values divided by `unit`."""
        return self._origin + self._shifted

    @property
    def deviation(self) -> HostArray:
        """(D,): of the values divided by `unit`."""
        deviation: HostArray = np.sqrt(self._squares / np.maximum(self._count, 1))
        return deviation


def power_of_two(peak: HostArray) -> HostArray:
    """The highest one that is not above each of these numbers of 0 or more; 1 for 0."""
    unit: HostArray = np.ldexp(1.0, np.where(peak == 0, 0, np.frexp(peak)[1] - 1))
    return unit


ROUNDING = 4 * float(np.finfo(np.float64).eps)
"""What deviates by less, in units, deviates by float64's own rounding of the numbers."""


def _chunks(values: Array) -> Iterator[slice]:
    """All steps of (S, D) on a device, some at once."""
    S, D = values.shape
    some = max(1, CHUNK // D)
    return (slice(start, start + some) for start in range(0, S, some))


def chunked(values: Array) -> Iterator[Array]:
    """All steps of (S, D) on a device, some at once."""
    return (values[part, :] for part in _chunks(values))


def of_device(place: Backend, values: Array, gaps: bool = False) -> Array:
    """(3, D) float64: of each feature a power of two next to its largest absolute value, 1 for 0, and of the values
    (S, D) divided by it mean and standard deviation: as `Moments` has them, on the device of the values.

    With `gaps` NaN counts for nothing.
    """
    xp, parts = place.namespace, list(_chunks(values))

    def highest(of: Callable[[Array], Array]) -> Array:
        return xp.max(xp.stack([xp.max(of(values[part, :]), axis=0) for part in parts]), axis=0)

    def there(some: Array, otherwise: float) -> Array:
        """Where there are numbers, and where not another."""
        return xp.where(xp.isnan(some), xp.full_like(some, otherwise), some) if gaps else some

    largest = xp.astype(highest(lambda some: xp.abs(there(some, 0.0))), xp.float64)
    largest = xp.where(largest == 0, xp.ones_like(largest), largest)
    unit = xp.pow(xp.full_like(largest, 2.0), xp.floor(xp.log2(largest)))
    origin = xp.astype(highest(lambda some: there(some, -math.inf)), xp.float64) / unit
    origin = xp.where(xp.isfinite(origin), origin, xp.zeros_like(origin))  # of which all are missing

    def sums(of: Callable[[Array, Array], Array]) -> Array:
        """Over all numbers, of their distances to the origin in units, 0 where there is none, and whether there is."""
        parted = []
        for part in parts:
            some = values[part, :]
            distance, gone = xp.astype(some, xp.float64) / unit - origin, xp.isnan(some)
            if gaps:
                distance = xp.where(gone, xp.zeros_like(distance), distance)
            parted.append(xp.sum(of(distance, gone), axis=0))
        return xp.sum(xp.stack(parted), axis=0)

    count: Any = values.shape[0]
    if gaps:
        count = sums(lambda distance, gone: xp.astype(~gone, xp.float64))
        count = xp.where(count == 0, xp.ones_like(count), count)
    mean = sums(lambda distance, gone: distance) / count

    def squared(distance: Array, gone: Array) -> Array:
        square = xp.square(distance - mean)
        return xp.where(gone, xp.zeros_like(square), square) if gaps else square

    return xp.stack([unit, origin + mean, xp.sqrt(sums(squared) / count)])
