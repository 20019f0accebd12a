"""The first pass over data that memory does not hold: what an encoder learns of parts, of which none is kept."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import columns, encode
from .encode import Scaler, TokenEncoder
from .host import HostArray
from .moments import Moments
from .names import Names
from .series import Series, Texts, take, to_host
from .spelling import Spelling


class Survey:
    """What an encoder learns of sequences that come in parts: the same as `encode.fit` of all that have a weight.

    Parameters
    ----------
    spelling, standardize
        See `encode.fit`.
    gaps
        Whether numbers may be missing: see `encode.Scaler`.
    owner
        Whose data they are, for messages.

    Attributes
    ----------
    tokens : bool
        Whether they are texts.
    columns, names
        Of the first part: see `Series`.
    """

    def __init__(self, spelling: Spelling, standardize: bool, owner: str, gaps: bool = False) -> None:
        self._spelling, self._standardize, self._owner, self._gaps = spelling, standardize, owner, gaps
        self._kind, self._features = "", 0  # of the first part
        self._moments, self._tokens = Moments(0), set[Any]()
        self.tokens = False
        self.columns: int | None = None
        self.names: Names | None = None

    def add(self, data: Series | Texts, own: HostArray) -> None:
        """A further part.

        Parameters
        ----------
        own
            (n,) the weights of its rows: of one of weight 0 nothing is learned.

        Raises
        ------
        ValueError
            If it is of another kind than the first, or has other features.
        """
        data = to_host(data)
        if self._kind == "":
            self._kind, self.tokens = _kind(data), isinstance(data, Texts)
            if isinstance(data, Series):
                self.columns, self.names, self._features = data.columns, data.names, data.features
                self._moments = Moments(self._features)
        elif _kind(data) != self._kind:
            raise ValueError(f"X holds {_kind(data)}, the batches before it held {self._kind}.")
        counted = np.flatnonzero(own)
        if isinstance(data, Texts):
            if len(counted):
                self._tokens.update(TokenEncoder.fit(take(data, counted), self._spelling).vocabulary)  # type: ignore[arg-type]
            return
        features, expected = data.features, self._features
        if features != expected:
            raise ValueError(f"X has {features} features a step, the batches before it had {expected}.")
        if data.columns != self.columns:
            raise ValueError(
                f"X is {_table(data.columns)}, the batches before it were {_table(self.columns)}: pass (n, time, 1) or "
                "a list of (time_i, 1) in each where lengths differ."
            )
        data = columns.check(data, self.columns, columns.kept(self.names), self._owner)
        if len(counted) and (self._standardize or self._gaps):
            for values in take(data, counted).blocks():  # type: ignore[union-attr]  # of a Series
                self._moments.add(values)

    def add_all(self, data: Series | Texts) -> None:
        """`add`, of which every row has a weight."""
        self.add(data, np.ones(len(data.lengths)))

    def encoder(self) -> encode.Encoder:
        """What was learned of all parts."""
        if self.tokens:
            return TokenEncoder(self._kind, self._spelling, sorted(self._tokens))
        if not (self._standardize or self._gaps):
            return Scaler.unscaled(self._features)
        found = self._moments
        return Scaler.of(found.unit, found.mean, found.deviation, self._standardize, self._gaps)


def _kind(data: Series | Texts) -> str:
    return data.kind if isinstance(data, Texts) else "numbers"


def _table(columns: int | None) -> str:
    return "no array (n, time)" if columns is None else f"an array (n, {columns})"
