"""Mean and standard deviation of numbers that come in parts."""

from __future__ import annotations

import numpy as np

from .host import HostArray


class Moments:
    """Mean and standard deviation of numbers that come in parts: those of all of them at once, to rounding.

    Part by part by the formulas of Chan, Golub and LeVeque ("Updating Formulae and a Pairwise Algorithm for Computing
    Sample Variances", 1979), in float64. What is added up are the numbers divided by the largest so far, so that
    neither sums nor squares overflow. NaN counts as not there.

    Parameters
    ----------
    D
        The number of features.

    Attributes
    ----------
    largest : (D,)
        The largest absolute value of each, 1 where all are 0.
    mean : (D,)
        Of the values divided by `largest`.
    """

    def __init__(self, D: int) -> None:
        self._count, self._squares = np.zeros(D), np.zeros(D)  # how many; the sum of squared distances to the mean
        self.largest, self.mean = np.ones(D), np.zeros(D)
        self._peak = np.zeros(D)  # the largest so far, 0 where there is none

    def add(self, values: HostArray) -> None:
        """More of them, (S, D): a block, of which a few copies are made."""
        features = np.array(values.T, dtype=np.float64, order="C")  # (D, S): the sums run along memory
        gone, count = None, np.full(len(features), float(features.shape[1]))
        if np.isnan(features.max(axis=1, initial=0)).any():
            gone = np.isnan(features)
            features[gone], count = 0, (~gone).sum(axis=1).astype(np.float64)
        top = np.maximum(features.max(axis=1, initial=0), -features.min(axis=1, initial=0))
        peak = np.maximum(self._peak, top)
        largest = np.where(peak == 0, 1.0, peak)
        shrink = self._peak / largest
        self.mean, self._squares = self.mean * shrink, self._squares * shrink**2
        self._peak, self.largest = peak, largest
        features /= largest[:, None]
        mean = features.sum(axis=1) / np.maximum(count, 1)
        features -= mean[:, None]
        if gone is not None:
            features[gone] = 0
        squares = np.square(features, out=features).sum(axis=1)
        total = np.maximum(self._count + count, 1)
        distance = mean - self.mean
        self.mean = self.mean + distance * (count / total)
        self._squares = self._squares + squares + np.square(distance) * (self._count * count / total)
        self._count = self._count + count

    @property
    def deviation(self) -> HostArray:
        """(D,): of the values divided by `largest`."""
        deviation: HostArray = np.sqrt(self._squares / np.maximum(self._count, 1))
        return deviation
