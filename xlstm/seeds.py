"""Random numbers are drawn on the host, from one generator: the same seed gives the same numbers on every backend."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np


def generator(seed: Any) -> np.random.Generator:
    """A generator from None (fresh), an integer, a Generator (itself) or scikit-learn's RandomState (drawn from)."""
    if isinstance(seed, np.random.Generator):
        return seed
    if isinstance(seed, np.random.RandomState):
        return np.random.default_rng(seed.randint(2**31, size=4))
    if seed is None:
        return np.random.default_rng()
    if not is_seed(seed):
        raise ValueError(f"a seed must be None, an integer of 0 or more, or a NumPy random generator, got {seed!r}.")
    return np.random.default_rng(operator.index(seed))


def is_seed(seed: Any) -> bool:
    """Whether it is an integer of 0 or more."""
    try:
        # To older NumPys their booleans and arrays of one element are indices.
        return not isinstance(seed, (bool, np.bool_, np.ndarray)) and operator.index(seed) >= 0
    except TypeError:
        return False


def own_generator(seed: Any) -> np.random.Generator:
    """Like `generator`, but one that nobody else draws from: one that was given only seeds it."""
    if isinstance(seed, np.random.Generator):
        return np.random.default_rng(seed.integers(2**31, size=4))
    return generator(seed)
