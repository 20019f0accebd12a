"""The quantile loss of answers beside numbers, and the quantiles of numbers with weights: on the host, for scores."""

from __future__ import annotations

import numpy as np

from ..host import HostArray


def pinball(r: HostArray, levels: HostArray) -> HostArray:
    """The loss of residuals r, answer minus number, of quantiles of these levels."""
    loss: HostArray = np.where(r < 0, -levels * r, (1 - levels) * r)
    return loss


def quantiles(values: HostArray, weights: HostArray, levels: HostArray) -> HostArray:
    """Of each level the least value that so large a share of the weights lies at or below."""
    order = np.argsort(values, kind="stable")
    share = np.cumsum(weights[order]) / weights.sum()
    places = np.searchsorted(share, levels * (1 - 1e-12))
    found: HostArray = values[order][np.minimum(places, len(values) - 1)]
    return found
