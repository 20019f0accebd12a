"""One or several numbers. What a loss makes of them: `Squared`, `Absolute` and `Huber` a number itself, `Quantiles`
one that so many of them lie below.

The model learns numbers that are scaled: minus the mean of the training part, divided by its standard deviation, of
each column its own. Shapes: n all rows, N the rows of a batch, C the columns of y, K outputs of the model.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

import numpy as np

from .. import backends, guesses, losses, quantities
from ..backends import Backend
from ..host import HostArray
from ..messages import told
from ..moments import ROUNDING, Moments
from ..namespace import Array, array_namespace
from ..registry import TASKS
from ..series import Series, Texts
from .pinball import pinball, quantiles
from .survey import Survey
from .task import Task


class Form:
    """What a loss makes of the outputs."""

    score_names: tuple[str, ...] = ("error",)
    higher_is_better = False

    def outputs(self, columns: int) -> int:
        """K, for y of so many columns."""
        return columns

    def loss(self, outputs: Array, targets: Array, weights: Array | None) -> tuple[Array, Array]:
        """The loss of a batch of scaled targets (N, C), and its gradient: see `Task.loss`."""
        raise NotImplementedError

    def sums(self, outputs: Array, targets: Array) -> tuple[Array, ...]:
        """See `Task.score_sums`: of the loss of each row."""
        return (self.loss(outputs, targets, None)[0] * outputs.shape[0],)

    def scores(self, sums: list[float], rows: int, scale: HostArray) -> dict[str, float]:
        """See `Task.scores`; `scale` (C,) is that of the targets."""
        return {"error": sums[0] / rows}

    def weighted_sums(self, outputs: Array, targets: Array, weights: Array) -> tuple[Array, ...]:
        return ()

    def weighted_score(self, sums: list[float], loss: float) -> float:
        """See `Task.weighted_score`: the error is the loss."""
        return loss

    def errors(self, answers: HostArray, y: HostArray, weights: HostArray) -> dict[str, Any]:
        """The named errors of answers (n, K) beside y (n, C), weighted; the first of them is the score."""
        raise NotImplementedError


class Point(Form):
    """Each output is the number itself."""

    score_names: tuple[str, ...] = ("error", "r2", "mae", "rmse")

    def sums(self, outputs: Array, targets: Array) -> tuple[Array, ...]:
        xp = array_namespace(outputs)
        r = outputs - targets
        table = xp.sum(xp.stack([r * r, xp.abs(r), targets, targets * targets]), axis=1)  # (4, K)
        each = tuple(table[i, k] for i in range(4) for k in range(table.shape[1]))
        return (*super().sums(outputs, targets), *each) if "error" in self.score_names else each

    def scores(self, sums: list[float], rows: int, scale: HostArray) -> dict[str, float]:
        first = 1 if "error" in self.score_names else 0
        squares, absolute, total, total_squares = np.array(sums[first:]).reshape(4, -1) / rows
        with np.errstate(over="ignore", invalid="ignore"):  # of numbers whose squares the model's dtype does not hold
            variance = total_squares - total**2
            variance[variance <= 1e-6 * total_squares] = 0  # all alike, but for rounding
        found = {
            "r2": r2(squares, variance),
            "mae": float(np.mean(absolute * scale)),
            "rmse": float(np.mean(np.sqrt(squares) * scale)),
        }
        return {**super().scores(sums, rows, scale), **found} if first else found

    def errors(self, answers: HostArray, y: HostArray, weights: HostArray) -> dict[str, Any]:
        alike, unit = (y == y[0]).all(axis=0), np.abs(y).max(axis=0)
        unit[unit == 0] = 1  # of its largest, each column is measured: so that no square overflows
        r, y = answers / unit - y / unit, y / unit
        with np.errstate(over="ignore"):  # of answers that are that much larger: see `r2`
            squares = np.average(r * r, axis=0, weights=weights)
        variance = np.average((y - np.average(y, axis=0, weights=weights)) ** 2, axis=0, weights=weights)
        return {
            "r2": r2(squares, np.where(alike, 0, variance)),
            "mae": float(np.mean(np.average(np.abs(r), axis=0, weights=weights) * unit)),
            "rmse": float(np.mean(np.sqrt(squares) * unit)),
        }


class Squared(Point):
    """The mean of the numbers that such sequences have."""

    score_names = ("r2", "mae", "rmse")
    higher_is_better = True

    def loss(self, outputs: Array, targets: Array, weights: Array | None) -> tuple[Array, Array]:
        return losses.squared_error(outputs, targets, weights)

    def weighted_sums(self, outputs: Array, targets: Array, weights: Array) -> tuple[Array, ...]:
        xp = array_namespace(outputs)
        outputs, targets, weights = (xp.astype(each, xp.float64) for each in (outputs, targets, weights))
        r, each = outputs - targets, weights[:, None]
        table = xp.sum(xp.stack([each * r * r, each * targets, each * targets * targets]), axis=1)  # (3, K)
        return (xp.sum(weights), *(table[i, k] for i in range(3) for k in range(table.shape[1])))

    def weighted_score(self, sums: list[float], loss: float) -> float:
        squares, total, total_squares = np.array(sums[1:]).reshape(3, -1) / sums[0]
        variance = total_squares - total**2
        variance[variance <= 1e-6 * total_squares] = 0  # all alike, but for rounding
        return r2(squares, variance)


class Absolute(Point):
    """Their median."""

    def loss(self, outputs: Array, targets: Array, weights: Array | None) -> tuple[Array, Array]:
        return losses.absolute_error(outputs, targets, weights)


class Huber(Point):
    """Between the two: the mean of those within `delta` standard deviations, towards which others pull no harder."""

    def __init__(self, delta: float) -> None:
        self.delta = delta

    def loss(self, outputs: Array, targets: Array, weights: Array | None) -> tuple[Array, Array]:
        return losses.huber(outputs, targets, weights, delta=self.delta)


class Quantiles(Form):
    """What shares of the numbers lie below: a level for all outputs, or several of one number, an output each."""

    def __init__(self, levels: float | list[float]) -> None:
        self.levels = levels

    @property
    def several(self) -> bool:
        """Whether there is an output for each level."""
        return isinstance(self.levels, list)

    def outputs(self, columns: int) -> int:
        return len(self.levels) if isinstance(self.levels, list) else columns

    def loss(self, outputs: Array, targets: Array, weights: Array | None) -> tuple[Array, Array]:
        return losses.quantile(outputs, targets, weights, levels=self.levels)

    def errors(self, answers: HostArray, y: HostArray, weights: HostArray) -> dict[str, Any]:
        levels = np.broadcast_to(self.levels, answers.shape[1])
        loss = np.average(pinball(answers - y, levels), axis=0, weights=weights)
        constant = np.stack([quantiles(column, weights, levels) for column in y.T], axis=1)  # (K, C)
        constant = constant[:, 0] if self.several else constant[0]
        of_constant = np.average(pinball(constant - y, levels), axis=0, weights=weights)
        below = np.average(answers >= y, axis=0, weights=weights)
        return {
            "d2": r2(loss, of_constant),
            "pinball": float(np.mean(loss)),
            "coverage": below if self.several else float(np.mean(below)),
        }


def r2(squares: HostArray, variance: HostArray) -> float:
    """1 - squares / variance, the mean over the outputs; where the numbers are all alike 1 if they are met, else 0.

    It is scikit-learn's r2_score with its defaults. Where the squares are too large for a number it is -inf.
    """
    alike, far = variance == 0, ~np.isfinite(squares)
    each = 1 - squares / np.where(alike | far, 1, variance)
    return float(np.mean(np.where(far, -np.inf, np.where(alike, squares == 0, each))))


def form_of(loss: str, huber_delta: float, quantile: Any) -> Form:
    """The form of an estimator's settings."""
    if loss == "quantile":
        return Quantiles(float(quantile) if np.ndim(quantile) == 0 else [float(level) for level in quantile])
    if loss == "huber":
        return Huber(float(huber_delta))
    return {"squared": Squared, "absolute": Absolute}[loss]()


LOSSES = ("squared", "absolute", "huber", "quantile")


class NumbersSurvey(Survey):
    """Mean and deviation of all numbers of the rows that have a weight, as `Numbers.measure` finds them."""

    def __init__(self, task: Numbers, is_open: bool) -> None:
        super().__init__(task, is_open)
        self._moments = Moments(len(task.center))
        self._first: HostArray | None = None  # of the rows that have a weight

    def read(self, y: Any, rows: int, own: HostArray) -> HostArray:
        values = quantities.read(y, rows)
        if self.is_open and values.dtype == np.float64:  # of all parts together that is the dtype
            self.task.dtype = "float64"
        targets: HostArray = super().read(values, rows, own)
        counted = targets[own > 0]
        if self._first is None and len(counted):
            self._first = counted[0]
        self._moments.add(counted)
        return targets

    def settle(self, whole: bool) -> None:
        first = self.task.center if self._first is None else self._first
        self.task.check_enough(first[None], whole)
        if self.is_open:
            self.task.scale_by(self._moments.unit, self._moments.mean, self._moments.deviation, first)


@TASKS.register("numbers")
class Numbers(Task):
    """Targets are y itself, (n, C) float64; answers are in its unit, of its dtype and form.

    The loss is settled with the first training: the settings of an estimator that goes on have to be the same.

    Parameters
    ----------
    columns
        C, or None for y of the shape (n,).
    dtype
        "float32" or "float64", that of y.

    Attributes
    ----------
    center, scale : (C,) float64
        What was measured of the training part, but for its rows of weight 0. The scale of a column that never changes
        is its number, or 1 for 0.
    form : Form
        What the loss makes of the outputs.
    followed : dict or None
        The settings of the first training.
    """

    settings = ("loss", "huber_delta", "quantile")
    anywhere = True
    score_is_a_mean = False
    offers: ClassVar[dict[str, str]] = {}

    def __init__(self, columns: int | None, dtype: str) -> None:
        self.columns, self.dtype = columns, dtype
        self.center, self.scale = np.zeros(columns or 1), np.ones(columns or 1)
        self.form: Form = Squared()
        self.followed: dict[str, Any] | None = None

    @classmethod
    def learn(cls, y: Any, rows: int, declared: Any = None) -> tuple[Numbers, HostArray]:
        if declared is not None:
            raise ValueError("classes are of labels, and y is to be numbers here: leave `classes` out.")
        values = quantities.read(y, rows)
        task = cls(None if values.ndim == 1 else values.shape[1], str(values.dtype))
        return task, task.read(values, rows)

    def read(self, y: Any, rows: int) -> HostArray:
        values = quantities.read(y, rows)
        values = values[:, None] if values.ndim == 1 else values
        if values.shape[1] != len(self.center):
            raise ValueError(
                f"y has {values.shape[1]} numbers for each sequence, but this model was trained on {len(self.center)}."
            )
        return values.astype(np.float64)

    def follow(self, estimator: object) -> None:
        if self.followed is None:
            self._settle({name: getattr(estimator, name) for name in self.settings})

    def _settle(self, settings: Mapping[str, Any]) -> None:
        loss, delta, quantile = (settings[name] for name in self.settings)
        self.form = form_of(loss, delta, quantile)
        levels = [float(level) for level in quantile] if np.ndim(quantile) else float(quantile)
        self.followed = {"loss": str(loss), "huber_delta": float(delta), "quantile": levels}
        self.score_names, self.higher_is_better = self.form.score_names, self.form.higher_is_better

    def doubts(self, data: Series | Texts, targets: HostArray, fold_case: bool) -> Iterable[str | None]:
        yield guesses.steps_as_rows(data, np.zeros(len(targets), dtype=np.int64), 1)

    def check_enough(self, targets: HostArray, whole: bool) -> None:
        if isinstance(self.form, Quantiles) and self.form.several and targets.shape[1] > 1:
            raise ValueError(
                f"several quantiles are of one number for each sequence, but y has {targets.shape[1]}: pass one column "
                "of it, or a single number as quantile."
            )

    def measure(self, targets: HostArray) -> None:
        moments = Moments(targets.shape[1])
        moments.add(targets)
        self.scale_by(moments.unit, moments.mean, moments.deviation, targets[0])

    def scale_by(self, unit: HostArray, mean: HostArray, deviation: HostArray, first: HostArray) -> None:
        """Scale so, each (C,): by mean and deviation of the numbers divided by `unit`, and the first of them."""
        self.center, self.scale = mean * unit, deviation * unit
        alike = (deviation < ROUNDING) | (self.scale < np.finfo(np.float64).tiny)
        # Nothing is known of how far such a column may stray: taken is how far it is from 0.
        self.center[alike], self.scale[alike] = first[alike], np.where(first == 0, 1, np.abs(first))[alike]

    def survey(self, is_open: bool) -> NumbersSurvey:
        return NumbersSurvey(self, is_open)

    @property
    def outputs(self) -> int:
        return self.form.outputs(len(self.center))

    def batch(self, targets: HostArray, rows: HostArray, backend: Backend, dtype: str) -> Array:
        chosen = self.take(targets, rows)
        return backend.adopt((chosen / self.scale - self.center / self.scale).astype(dtype))  # (N, C)

    def placed(self, targets: HostArray, backend: Backend, dtype: str) -> Array:
        return self.batch(targets, np.arange(len(targets)), backend, dtype)

    def loss(self, outputs: Array, targets: Array, weights: Array) -> tuple[Array, Array]:
        return self.form.loss(outputs, targets, weights)

    def score_sums(self, outputs: Array, targets: Array) -> tuple[Array, ...]:
        return self.form.sums(outputs, targets)

    def weighted_sums(self, outputs: Array, targets: Array, weights: Array) -> tuple[Array, ...]:
        return self.form.weighted_sums(outputs, targets, weights)

    def weighted_score(self, sums: list[float], loss: float) -> float:
        return self.form.weighted_score(sums, loss)

    def scores(self, sums: list[float], rows: int) -> dict[str, float]:
        return self.form.scores(sums, rows, self.scale)

    def errors(self, outputs: HostArray, targets: HostArray, weights: HostArray) -> dict[str, Any]:
        """The named errors of outputs (n, K), weighted."""
        return self.form.errors(np.stack(self._numbers(outputs), axis=1), targets, weights)

    def score(self, outputs: HostArray, targets: HostArray, weights: HostArray) -> float:
        return float(next(iter(self.errors(outputs, targets, weights).values())))

    def _numbers(self, outputs: Array) -> list[Array]:
        """Each output in the unit of y, float64: K of (n,)."""
        xp = array_namespace(outputs)
        wide = xp.astype(outputs, xp.float64)
        numbers = []
        for k in range(outputs.shape[1]):
            column = k if len(self.center) > 1 else 0
            numbers.append(wide[:, k] * float(self.scale[column]) + float(self.center[column]))
        return numbers

    def details(self, outputs: Array) -> Array:
        """The numbers, (n,) or (n, K), where the outputs lie."""
        xp = array_namespace(outputs)
        numbers = [xp.astype(column, getattr(xp, self.dtype)) for column in self._numbers(outputs)]
        several = isinstance(self.form, Quantiles) and self.form.several
        return numbers[0] if self.columns is None and not several else xp.stack(numbers, axis=1)

    def answers(self, outputs: Array) -> HostArray:
        numbers = self.details(outputs)
        home = backends.owner(numbers)
        on_host: HostArray = numbers if home is None else home.to_host(numbers)
        return on_host

    def random_targets(self, n: int, rng: np.random.Generator) -> HostArray:
        drawn: HostArray = self.center + self.scale * rng.standard_normal((n, len(self.center)))
        return drawn

    def state(self) -> dict[str, Any]:
        kept = {"columns": self.columns, "dtype": self.dtype}
        return {**kept, "center": self.center.tolist(), "scale": self.scale.tolist(), **(self.followed or {})}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Numbers:
        names = {"columns", "dtype", "center", "scale", *cls.settings}
        if state.keys() != names:
            raise ValueError(f"the task has {sorted(state)}, expected {sorted(names)}")
        columns, dtype, loss, quantile = (state[name] for name in ("columns", "dtype", "loss", "quantile"))
        if dtype not in ("float32", "float64") or loss not in LOSSES:
            raise ValueError(f"its numbers are of the dtype {told(dtype)}, its loss is {told(loss)}")
        if columns is not None and (type(columns) is not int or columns < 1):
            raise ValueError(f"it has {told(columns)} columns")
        levels = quantile if isinstance(quantile, list) else [quantile]
        if not levels or not all(type(level) is float and 0 < level < 1 for level in levels):
            raise ValueError(f"its quantile is {told(quantile)}")
        delta = state["huber_delta"]
        if type(delta) is not float or not 0 < delta < math.inf:
            raise ValueError(f"its huber_delta is {told(delta)}")
        center, scale = (np.array(state[name], dtype=np.float64) for name in ("center", "scale"))
        for name, values in (("center", center), ("scale", scale)):
            if values.shape != (columns or 1,) or not np.isfinite(values).all() or (scale <= 0).any():
                raise ValueError(f"its {name} is {told(state[name])}")
        task = cls(columns, dtype)  # of a size that was compared
        task.center, task.scale = center, scale
        task._settle(state)
        return task
