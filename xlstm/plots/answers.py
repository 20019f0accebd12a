"""How good the answers of a fitted estimator are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import measures
from ..batch import Encoded
from ..fitted import Fitted
from ..host import HostArray
from ..steplabels import IGNORED
from ..tasks.classes import Classes, predicted
from ..tasks.numbers import Numbers
from ..tasks.several import SeveralLabels
from ..tasks.steps import StepClasses
from .display import Display

NORMALIZE = ("true", "pred", "all")


class _Answers:
    """What an estimator gives for rows whose answers are known, on the host."""

    def __init__(self, estimator: Any, X: Any, y: Any, sample_weight: Any, kinds: tuple[type, ...], what: str) -> None:
        fitted: Fitted = estimator.fitted_state()
        if not isinstance(fitted.task, kinds):
            raise ValueError(
                f"{what} {type(estimator).__name__} has none: its answers are of the kind {fitted.task.kind!r}."
            )
        outputs, targets, weights = fitted.beside(X, y, sample_weight, estimator.reading())
        self.task: Any = fitted.task
        if isinstance(outputs, Encoded):  # every step is an answer
            weights = np.repeat(weights, outputs.lengths)
            counts = targets.steps != IGNORED
            outputs, targets, weights = outputs.steps[counts], targets.steps[counts], weights[counts]
        self.outputs, self.targets, self.weights = outputs, targets, weights

    def positives(self, label: int) -> HostArray:
        """(n,) bool: whose class it is, or who has the label."""
        if self.targets.ndim == 2:
            return np.asarray(self.targets[:, label] > 0)
        return np.asarray(self.targets == label)

    def probabilities(self) -> HostArray:
        """(n, K)."""
        if isinstance(self.task, SeveralLabels):
            return np.asarray(self.task.details(self.outputs), dtype=np.float64)
        return np.asarray(self.task.form.probabilities(self.outputs), dtype=np.float64)


CLASSES = (Classes, StepClasses)


class ConfusionMatrixDisplay(Display):
    """Which class was taken for which: rows are the true ones, columns the answers.

    Parameters
    ----------
    confusion_matrix : (K, K)
        Numbers or weights of rows.
    display_labels
        The K labels.
    normalize : {"true", "pred", "all"} or None
        What sums to 1 in the picture: each row, each column, or all.
    """

    def __init__(self, confusion_matrix: Any, display_labels: Sequence[Any], normalize: str | None = None) -> None:
        if normalize is not None and normalize not in NORMALIZE:
            raise ValueError(f"normalize must be one of {NORMALIZE} or None, got {normalize!r}.")
        self.confusion_matrix, self.display_labels = np.asarray(confusion_matrix), list(display_labels)
        self.normalize = normalize

    @classmethod
    def from_estimator(
        cls, estimator: Any, X: Any, y: Any, *, sample_weight: Any = None, normalize: str | None = None, ax: Any = None
    ) -> ConfusionMatrixDisplay:
        """Of the answers for X beside y; of a labeler, those of all steps whose labels count.

        Raises
        ------
        ValueError
            If the estimator is no classifier or labeler of one class, or is not fitted; or as its `score`.
        ImportError
            If matplotlib is missing.
        """
        a = _Answers(estimator, X, y, sample_weight, CLASSES, "a confusion matrix is of one class each;")
        labels = a.task.classes.tolist()
        table = measures.confusion(a.targets, predicted(a.task.form, a.outputs), len(labels), a.weights)
        return cls(table, labels, normalize).plot(ax)

    @classmethod
    def from_predictions(
        cls, y_true: Any, y_pred: Any, *, sample_weight: Any = None, normalize: str | None = None, ax: Any = None
    ) -> ConfusionMatrixDisplay:
        """Of labels (n,) beside the answers (n,)."""
        true, answers = np.asarray(y_true), np.asarray(y_pred)
        if true.shape != answers.shape or true.ndim != 1:
            raise ValueError(
                f"y_true and y_pred must be labels (n,) of one length, got shapes {true.shape} and {answers.shape}."
            )
        labels = np.unique(np.concatenate([true, answers]))
        table = measures.confusion(
            np.searchsorted(labels, true), np.searchsorted(labels, answers), len(labels),
            None if sample_weight is None else np.asarray(sample_weight),
        )  # fmt: skip
        return cls(table, labels.tolist(), normalize).plot(ax)

    def plot(self, ax: Any = None) -> ConfusionMatrixDisplay:
        """Draw it, into `ax` where that is given."""
        table = self.confusion_matrix.astype(np.float64)
        total: Any = {
            None: 1.0,
            "true": table.sum(axis=1, keepdims=True),
            "pred": table.sum(axis=0, keepdims=True),
            "all": table.sum(),
        }[self.normalize]
        shown = np.divide(table, total, out=np.zeros_like(table), where=np.broadcast_to(total, table.shape) > 0)
        K = len(self.display_labels)
        side = min(max(3.6, 0.45 * K + 1.5), 12.0)
        ax = self._one(ax, figsize=(side + 0.8, side))
        image = ax.imshow(shown, cmap="Blues", vmin=0)
        self.figure_.colorbar(image, ax=ax, shrink=0.8)
        if K <= 20:
            whole = self.normalize is None and np.array_equal(shown, np.round(shown))
            middle = shown.max() / 2
            for i, j in np.ndindex(K, K):
                text = f"{shown[i, j]:.0f}" if whole else f"{shown[i, j]:.2g}"
                ax.text(j, i, text, ha="center", va="center", color="white" if shown[i, j] > middle else "black")
        names = [str(label) for label in self.display_labels]
        long = max(map(len, names)) > 3
        ax.set_xticks(np.arange(K), labels=names, rotation=45 if long else 0, ha="right" if long else "center")
        ax.set_yticks(np.arange(K), labels=names)
        ax.set_xlabel("answer")
        ax.set_ylabel("true label")
        return self


class _PerLabel(Display):
    """A display with a curve for each label."""

    def __init__(self, curves: dict[Any, Any]) -> None:
        self.curves = curves

    def _legend(self, ax: Any) -> None:
        ax.grid(alpha=0.3)
        ax.set_aspect("equal")
        ax.set_xlim(-0.02, 1.02)
        ax.set_ylim(-0.02, 1.02)
        if len(self.curves) <= 12:
            ax.legend(fontsize="small")


def _wanted(a: _Answers, label: Any) -> list[int]:
    """The numbers of the labels that have a curve: the one that is asked for, or the second of two, or all."""
    labels = a.task.classes.tolist()
    if label is None:
        return [1] if len(labels) == 2 and not isinstance(a.task, SeveralLabels) else list(range(len(labels)))
    found = [k for k, each in enumerate(labels) if each == label]
    if not found:
        raise ValueError(f"label must be one of {labels!r:.200}, got {label!r:.80}.")
    return found


class RocCurveDisplay(_PerLabel):
    """How many of a class are found, against how many others are taken for it: one curve a class against the rest.

    Parameters
    ----------
    curves : dict of label to xlstm.measures.Roc
    """

    @classmethod
    def from_estimator(
        cls, estimator: Any, X: Any, y: Any, *, sample_weight: Any = None, label: Any = None, ax: Any = None
    ) -> RocCurveDisplay:
        """Of the probabilities for X beside y. `label` draws one class alone; of two, the second is drawn.

        Raises
        ------
        ValueError
            If the estimator gives no labels or is not fitted; if `label` is unknown; if no row of y has a class that
            is to be drawn, or every row; or as its `score`.
        ImportError
            If matplotlib is missing.
        """
        a = _Answers(estimator, X, y, sample_weight, (*CLASSES, SeveralLabels), "a ROC curve is of labels;")
        p, curves = a.probabilities(), {}
        for k in _wanted(a, label):
            name = a.task.classes.tolist()[k]
            try:
                curves[name] = measures.roc(a.positives(k), p[:, k], a.weights)
            except ValueError as error:
                raise ValueError(f"label {name!r}: {error}") from None
        return cls(curves).plot(ax)

    def plot(self, ax: Any = None) -> RocCurveDisplay:
        """Draw it, into `ax` where that is given."""
        ax = self._one(ax, figsize=(5.2, 5.2))
        for name, curve in self.curves.items():
            ax.plot(curve.false_positive_rate, curve.true_positive_rate, label=f"{name} (area {curve.area:.3f})")
        ax.plot([0, 1], [0, 1], color="gray", linestyle=":", linewidth=1, label="chance")
        ax.set_xlabel("false positive rate")
        ax.set_ylabel("true positive rate")
        self._legend(ax)
        return self


class CalibrationDisplay(_PerLabel):
    """Whether probabilities are to be taken at their word: the share of what came true, against what was predicted.

    Parameters
    ----------
    curves : dict of label to xlstm.measures.Calibration
    """

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: Any,
        *,
        sample_weight: Any = None,
        label: Any = None,
        n_bins: int = 10,
        ax: Any = None,
    ) -> CalibrationDisplay:
        """Of the probabilities for X beside y, in `n_bins` bins of equal width. `label` as for a ROC curve.

        Raises
        ------
        ValueError, ImportError
            As for a ROC curve; if there are no bins.
        """
        if isinstance(n_bins, bool) or not isinstance(n_bins, (int, np.integer)) or n_bins < 1:
            raise ValueError(f"n_bins must be a whole number of 1 or more, got {n_bins!r}.")
        a = _Answers(estimator, X, y, sample_weight, (*CLASSES, SeveralLabels), "a calibration curve is of labels;")
        p, names = a.probabilities(), a.task.classes.tolist()
        wanted = _wanted(a, label)
        curves = {names[k]: measures.calibration(a.positives(k), p[:, k], int(n_bins), a.weights) for k in wanted}
        return cls(curves).plot(ax)

    def plot(self, ax: Any = None) -> CalibrationDisplay:
        """Draw it, into `ax` where that is given."""
        ax = self._one(ax, figsize=(5.2, 5.2))
        ax.plot([0, 1], [0, 1], color="gray", linestyle=":", linewidth=1, label="perfect")
        for name, curve in self.curves.items():
            ax.plot(curve.predicted, curve.observed, marker="o", label=f"{name} (error {curve.error:.3f})")
        ax.set_xlabel("predicted probability")
        ax.set_ylabel("share that came true")
        self._legend(ax)
        return self


class ResidualsDisplay(Display):
    """The numbers of a regressor against the true ones, and what is left between them.

    Parameters
    ----------
    y_true, y_pred : (n, C)
        In the unit of y; several quantiles stand beside the one number that they are of.
    names
        Of the C numbers, or None.
    """

    def __init__(self, y_true: Any, y_pred: Any, names: Sequence[str] | None = None) -> None:
        self.y_true, self.y_pred, self.names = np.asarray(y_true), np.asarray(y_pred), names

    @classmethod
    def from_estimator(cls, estimator: Any, X: Any, y: Any, *, ax: Any = None) -> ResidualsDisplay:
        """Of the answers for X beside y.

        Raises
        ------
        ValueError
            If the estimator is no regressor or is not fitted; or as its `score`.
        ImportError
            If matplotlib is missing.
        """
        a = _Answers(estimator, X, y, None, (Numbers,), "residuals are of numbers;")
        answers = np.asarray(a.task.details(a.outputs), dtype=np.float64)
        answers = answers[:, None] if answers.ndim == 1 else answers
        names = None
        if a.targets.shape[1] == 1 and answers.shape[1] > 1:
            names = [f"quantile {level}" for level in a.task.followed["quantile"]]
        return cls(np.broadcast_to(a.targets, answers.shape), answers, names).plot(ax)

    def plot(self, ax: Any = None) -> ResidualsDisplay:
        """Draw it: into two axes, one above the other, where they are given."""
        axes = self._several(ax, [3.85, 2.35], 5.6, shared=False)
        for column in range(self.y_true.shape[1]):
            true, answer = self.y_true[:, column], self.y_pred[:, column]
            label = self.names[column] if self.names is not None else f"number {column}"
            style: dict[str, Any] = {"s": 14, "alpha": 0.6, "label": label}
            axes[0].scatter(true, answer, **style)
            axes[1].scatter(answer, answer - true, **style)
        low, high = float(self.y_true.min()), float(self.y_true.max())
        axes[0].plot([low, high], [low, high], color="gray", linestyle=":", linewidth=1)
        axes[1].axhline(0, color="gray", linestyle=":", linewidth=1)
        axes[0].set_xlabel("true")
        axes[0].set_ylabel("answer")
        axes[1].set_xlabel("answer")
        axes[1].set_ylabel("answer − true")
        if self.y_true.shape[1] > 1:
            axes[0].legend(fontsize="small")
        for which in axes:
            which.grid(alpha=0.3)
        return self
