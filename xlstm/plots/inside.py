"""What a network saw in one sequence, drawn over its tokens or its signal: see `xlstm.inspection`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import inspection
from ..host import HostArray
from .display import Display, draw_steps

TOLD = {"i": "input gate", "f": "forget gate", "g": "candidate", "o": "output gate", "c": "cell state"}
TOLD |= {"h": "hidden state", "r": "reset gate", "u": "update gate", "n": "candidate"}


def _names_of(estimator: Any, steps: list[str] | HostArray) -> list[str] | None:
    """The names of the features of a series, where the estimator knows them."""
    names = getattr(estimator, "feature_names_in_", None)
    if names is None or isinstance(steps, list) or len(names) != steps.shape[1]:
        return None
    return [str(name) for name in names]


class TraceDisplay(Display):
    """Gates and states of one layer over a sequence: a heat map each, a row of it a hidden unit.

    Parameters
    ----------
    trace : xlstm.inspection.Trace
    names
        Of the features of a series, or None.
    parts
        Which gates and states, by name; None draws all.
    """

    def __init__(
        self, trace: inspection.Trace, names: Sequence[str] | None = None, parts: Sequence[str] | None = None
    ) -> None:
        self.trace, self.names = trace, names
        there = {**trace.gates, **trace.states}
        self.parts = list(there) if parts is None else list(parts)
        unknown = [name for name in self.parts if name not in there]
        if unknown or not self.parts:
            raise ValueError(f"parts must be some of {list(there)}, got {list(self.parts)!r:.200}.")

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        sequence: Any,
        *,
        layer: int = -1,
        direction: str = "forward",
        parts: Sequence[str] | None = None,
        ax: Any = None,
    ) -> TraceDisplay:
        """Of one sequence: see `xlstm.inspection.trace` for `layer` and `direction`.

        Raises
        ------
        ValueError, TypeError
            As there; if a part is unknown.
        ImportError
            If matplotlib is missing.
        """
        found = inspection.trace(estimator, sequence, layer, direction)
        return cls(found, _names_of(estimator, found.steps), parts).plot(ax)

    def plot(self, ax: Any = None) -> TraceDisplay:
        """Draw it: into axes one above another, one for each part and for a series one more, where they are given."""
        trace = self.trace
        shown = {**trace.gates, **trace.states}
        axes = self._over_steps(ax, [1.3] * len(self.parts), trace.steps)
        for which, name in zip(axes, self.parts, strict=False):
            values = shown[name]  # (T, H)
            gate = name in trace.gates and name not in ("g", "n", "h")  # after a sigmoid: 0 to 1
            limit = 1.0 if name != "c" else max(1.0, float(np.abs(values).max()))
            scale: dict[str, Any] = {"cmap": "gray_r", "vmin": 0, "vmax": 1}
            scale = scale if gate else {"cmap": "RdBu_r", "vmin": -limit, "vmax": limit}
            image = which.imshow(values.T, aspect="auto", interpolation="nearest", **scale)
            self.figure_.colorbar(image, ax=which, pad=0.01)
            which.set_yticks([])
            which.set_ylabel(f"{name}\n{TOLD[name]}" if name in TOLD else name)
        draw_steps(axes[-1], trace.steps, self.names)
        return self


class EachStepDisplay(Display):
    """What the model would answer after each step: the probability of each class, or a number.

    Parameters
    ----------
    answers : (T, K)
    labels
        Of the K columns.
    steps
        The tokens, or the series (T, D).
    names
        Of the features of a series, or None.
    probabilities : bool
        Whether the answers are such, from 0 to 1.
    """

    def __init__(
        self,
        answers: HostArray,
        labels: Sequence[Any],
        steps: list[str] | HostArray,
        names: Sequence[str] | None = None,
        probabilities: bool = True,
    ) -> None:
        self.answers, self.labels, self.steps, self.names = answers, list(labels), steps, names
        self.probabilities = probabilities

    @classmethod
    def from_estimator(cls, estimator: Any, sequence: Any, *, ax: Any = None) -> EachStepDisplay:
        """Of one sequence: see `xlstm.inspection.after_each_step`.

        Raises
        ------
        ValueError, TypeError
            As there.
        ImportError
            If matplotlib is missing.
        """
        answers = inspection.after_each_step(estimator, sequence)
        steps = inspection.steps_of(estimator, sequence)
        classes = getattr(estimator.fitted_state().task, "classes", None)
        labels = [f"number {k}" for k in range(answers.shape[1])] if classes is None else classes.tolist()
        return cls(answers, labels, steps, _names_of(estimator, steps), classes is not None).plot(ax)

    def plot(self, ax: Any = None) -> EachStepDisplay:
        """Draw it: into one axes for tokens, two for a series, where they are given."""
        axes = self._over_steps(ax, [2.6], self.steps)
        T = len(self.answers)
        most = np.argsort(-self.answers.max(axis=0))[:8]  # of many classes those that were ever likely
        for k in sorted(most.tolist()):
            marker = "." if T <= 60 else None
            axes[0].plot(np.arange(T), self.answers[:, k], marker=marker, label=str(self.labels[k]))
        if self.probabilities:
            axes[0].set_ylim(-0.03, 1.03)
            axes[0].set_ylabel("probability")
        else:
            axes[0].set_ylabel("answer")
        axes[0].grid(alpha=0.3)
        if self.answers.shape[1] > 1:
            axes[0].legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize="small", frameon=False)
        draw_steps(axes[-1], self.steps, self.names)
        return self


class ImportanceDisplay(Display):
    """Which steps count for an answer: red ones speak for it, blue ones against it.

    Parameters
    ----------
    importance : (T,) or (T, D)
    steps
        The tokens, or the series (T, D).
    names
        Of the features of a series, or None.
    answer
        What they speak for: a label, or the number of a column.
    is_label : bool
        Which of the two it is.
    """

    def __init__(
        self,
        importance: HostArray,
        steps: list[str] | HostArray,
        names: Sequence[str] | None = None,
        answer: Any = None,
        is_label: bool = True,
    ) -> None:
        self.importance, self.steps, self.names, self.answer = importance, steps, names, answer
        self.is_label = is_label

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        sequence: Any,
        *,
        method: str = "gradient",
        target: Any = None,
        step: int = -1,
        width: int = 1,
        ax: Any = None,
    ) -> ImportanceDisplay:
        """Of one sequence: see `xlstm.inspection.importance`.

        Raises
        ------
        ValueError, TypeError
            As there.
        ImportError
            If matplotlib is missing.
        """
        found = inspection.explanation(estimator, sequence, method, target=target, step=step, width=width)
        is_label = getattr(estimator.fitted_state().task, "classes", None) is not None
        names = _names_of(estimator, found.steps)
        return cls(found.importance, found.steps, names, found.answer, is_label).plot(ax)

    def plot(self, ax: Any = None) -> ImportanceDisplay:
        """Draw it: into one axes for tokens, two for a series, where they are given."""
        axes = self._over_steps(ax, [2.0], self.steps)
        values = self.importance
        limit = float(np.abs(values).max()) or 1.0
        if values.ndim == 2 and values.shape[1] > 1:
            image = axes[0].imshow(
                values.T, aspect="auto", interpolation="nearest", cmap="RdBu_r", vmin=-limit, vmax=limit
            )
            self.figure_.colorbar(image, ax=axes[0], pad=0.01)
            D = values.shape[1]
            named = self.names if self.names is not None else [str(d) for d in range(D)]
            if D <= 12:
                axes[0].set_yticks(np.arange(D), labels=list(named))
            axes[0].set_ylabel("importance\nof each feature")
        else:
            height = values.reshape(len(values))
            axes[0].bar(np.arange(len(height)), height, color=["#b2182b" if v > 0 else "#2166ac" for v in height])
            axes[0].axhline(0, color="gray", linewidth=0.8)
            axes[0].set_ylabel("importance")
        if self.answer is not None:
            title = f"what speaks for {self.answer!r}" if self.is_label else f"what raises number {self.answer}"
            axes[0].set_title(title, fontsize="medium", parse_math=False)
        draw_steps(axes[-1], self.steps, self.names)
        return self
