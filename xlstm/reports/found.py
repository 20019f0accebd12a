"""What a report is made of: an estimator, sequences as its model reads them, its outputs for them, and the truth."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np

from .. import sequences, series, sources
from ..fitted import Fitted, Table
from ..host import HostArray
from ..readers.columns import LABEL
from ..series import Texts
from .page import Html, counted, cut, tag

LONGEST_LABEL = 40
"""Of the labels' name so many characters are shown."""
SHOWN_STEPS = 160
"""Of a longer text so many tokens are shown."""
BETWEEN = {" ": "␣", "\n": "⏎", "\t": "⇥"}
"""How tokens are shown that nobody would see."""


class Found:
    """An estimator, its answers for some sequences and the truth, on the host.

    Attributes
    ----------
    data : Series or Texts
        The sequences, features in the order of the model.
    outputs, targets
        As its task has them.
    names : list of str or None
        What the sequences are called.
    label : str
        What the labels are called: as y itself is, a Series of pandas or polars; or their column in the file that the
        model learned of; "y" where neither says more.

    Raises
    ------
    ValueError, TypeError
        As `score` of the estimator; if the data come in batches, or names are not as many as sequences.
    """

    def __init__(self, estimator: Any, X: Any, y: Any, names: Any) -> None:
        self.estimator = estimator
        self.fitted: Fitted = estimator.fitted_state()
        self.task: Any = self.fitted.task
        if sources.labelled(X, y, None) is not None:
            raise ValueError("a report is of data in memory: pass X and y themselves, not batches of them.")
        reading = estimator.reading()
        self.label = _called(y, self.fitted.table)
        self.outputs, self.targets, _ = self.fitted.beside(X, y, None, reading)
        data = self.fitted.matched(sequences.read(X, *reading), quiet=True)
        self.data = series.to_host(data)
        self.lengths: HostArray = np.asarray(data.lengths)
        self._ends = np.cumsum(self.lengths)
        self.names = None if names is None else [str(name) for name in names]
        if self.names is not None and len(self.names) != self.n:
            raise ValueError(f"names must be {self.n}, one for each sequence, got {len(self.names)}.")

    @property
    def n(self) -> int:
        """How many sequences there are."""
        return len(self.lengths)

    @property
    def texts(self) -> bool:
        """Whether they are texts, of characters or words."""
        return isinstance(self.data, Texts) and self.data.kind != "integers"

    @cached_property
    def values(self) -> HostArray:
        """Of series all steps, (S, D)."""
        assert not isinstance(self.data, Texts)
        return np.asarray(self.data.values)

    def name(self, k: int) -> str:
        """What a sequence is called: as was said, or by its number, from 0 on as rows are in messages."""
        return f"row\u00a0{k}" if self.names is None else self.names[k]

    def one(self, k: int) -> Any:
        """A sequence as an estimator takes it."""
        begin, end = int(self._ends[k] - self.lengths[k]), int(self._ends[k])
        if isinstance(self.data, Texts):
            return self.data.tokens[begin:end]
        steps = self.values[begin:end]
        return steps[:, 0] if self.fitted.columns is not None else steps

    def shown(self, k: int) -> Html:
        """A text, cut; of series how long it is."""
        sequence = self.one(k)
        if not isinstance(self.data, Texts):
            return Html(counted(int(self.lengths[k]), "step"))
        text = sequence if self.data.kind == "characters" else " ".join(map(str, sequence[:SHOWN_STEPS]))
        return tag("bdi", cut(text))

    def feature_names(self) -> list[str]:
        """Of a series: as they are called, or by their numbers."""
        names = self.fitted.feature_names
        D = self.fitted.encoder.size
        if names is None or len(names) != D:
            return [f"feature {d}" for d in range(D)]
        return [str(name) for name in names]


def _called(y: Any, table: Table | None) -> str:
    name = getattr(y, "name", None)
    if not (isinstance(name, str) and name):
        name = "y" if table is None or table.label == LABEL else table.label
    return cut(name, LONGEST_LABEL)


def tokens_of(steps: Sequence[str]) -> list[str]:
    """Tokens as they are shown one by one."""
    return [BETWEEN.get(token, token) for token in steps]
