"""Mean and standard deviation of numbers that come in parts."""

from __future__ import annotations

import numpy as np

from .host import HostArray


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
