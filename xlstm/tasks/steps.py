"""One of some classes at every step: many-to-many.

Targets are the numbers of the labels of all steps, one sequence after another, and so are the outputs that answers are
made of. In a batch they are a block (N, T), with `IGNORED` where a label does not count and after a row's length.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, NamedTuple

import numpy as np

from .. import backends, guesses, losses, ondevice, steplabels
from ..backends import Backend, numpy_arrays
from ..batch import Encoded
from ..host import HostArray
from ..labels import class_factors, weights_of, weights_of_part
from ..messages import told
from ..namespace import Array, array_namespace
from ..registry import TASKS
from ..series import Series, Texts
from ..steplabels import IGNORED, StepLabels
from .classes import Binary, Classes, Form, MultiClass, predicted, share, weighted_hits
from .survey import ClassesSurvey
from .task import Task


class Block(NamedTuple):
    """The targets of a batch, on the model's device."""

    numbers: Array  # (N, T) of the classes, or IGNORED
    factors: Array  # (K,) the weight of each class, or None for 1


class Placed(NamedTuple):
    """The targets of all rows on a GPU."""

    numbers: Array  # (S,)
    starts: Array  # (n,), on the GPU as well
    lengths: Array  # (n,)
    on_host: HostArray  # the same lengths, where the longest of a batch is looked up
    factors: Array


@TASKS.register("step_classes")
class StepClasses(Task):
    """A class at every step. The loss is the mean of the cross-entropies of the steps whose labels count.

    Parameters
    ----------
    classes : (K,)
        The labels, sorted.
    ignore
        A label that does not count: it is no class. None where every label counts.
    """

    score_names = ("accuracy",)
    settings = ("class_weight",)
    offers: ClassVar[dict[str, str]] = {
        "classes_": "classes",
        "predict_proba": "details",
        "predict_log_proba": "log_probabilities",
        "decision_function": "decision",
    }
    anywhere = True

    def __init__(self, classes: HostArray, ignore: Any = None) -> None:
        self.classes, self.ignore = classes, ignore
        self.form: Form = Binary() if len(classes) == 2 else MultiClass(len(classes))
        self.class_weight: Any = None
        self._factors: HostArray | None = None  # (K,) by the class weights, as `weights` found them

    # ------------------------------------------------------------ y

    @classmethod
    def learn(cls, y: Any, rows: int, declared: Any = None, ignore: Any = None) -> tuple[StepClasses, Encoded]:
        """See the base; `ignore` is a label that does not count."""
        given = steplabels.read(y, rows, ignore)
        classes = given.classes() if declared is None else steplabels.declared(declared, ignore)
        return cls(classes, ignore), _targets(given, classes)

    def declared(self, classes: Any) -> HostArray:
        return steplabels.declared(classes, self.ignore)

    def read(self, y: Any, rows: int) -> Encoded:
        return _targets(steplabels.read(y, rows, self.ignore), self.classes)

    def check_lengths(self, targets: Encoded, lengths: HostArray) -> None:
        steplabels.check_lengths(targets.lengths, lengths)

    def check_enough(self, targets: Encoded, whole: bool) -> None:
        self.check_classes(np.unique(targets.steps[targets.steps != IGNORED]), whole)

    def check_classes(self, present: HostArray, whole: bool) -> None:
        """`check_enough`, of targets that hold the classes of these numbers."""
        if not len(self.classes):
            raise ValueError("no label of y counts: all are the one that `ignore` names, so nothing could be learned.")
        if not len(present):
            raise ValueError(f"every label of y is {self.ignore!r}, which does not count: nothing could be learned.")
        if whole and len(present) == 1:
            raise ValueError(
                f"y holds a single class, {self.classes.tolist()[present[0]]!r}: a labeler needs two or more "
                "(1 class given)."
            )
        if len(self.classes) < 2:
            raise ValueError(
                f"a single class, {self.classes.tolist()[0]!r}: pass all labels that will come as classes=."
            )

    def doubts(self, data: Series | Texts, targets: Encoded, fold_case: bool) -> Iterable[str | None]:
        yield guesses.ignored_nowhere(targets.steps, self.ignore, self.classes)

    def take(self, targets: Encoded, rows: HostArray) -> Encoded:
        """These rows alone, without the labels of the others."""
        lengths = targets.lengths[rows]
        places = ondevice.steps_of(numpy_arrays.BACKEND, targets.starts[rows], lengths)
        return Encoded.of(targets.steps[places], lengths)

    def joined(self, parts: list[Encoded]) -> Encoded:
        return Encoded.joined(parts)

    def survey(self, is_open: bool) -> StepsSurvey:
        return StepsSurvey(self, is_open)

    def with_classes(self, classes: HostArray) -> StepClasses:
        """One with these classes, sorted, and the same settings."""
        other = type(self)(classes, self.ignore)
        other.follow(self)
        return other

    def marks(self, targets: Encoded, n: int) -> list[bytes]:
        return [ascii(numbers.tolist()).encode() for numbers in _rows(targets.steps, targets)]

    def terms(self, targets: Encoded) -> HostArray:
        terms: HostArray = np.add.reduceat(targets.steps != IGNORED, targets.starts, dtype=np.int64)
        return terms

    def weights(self, targets: Encoded, sample_weight: Any, whole: bool = True) -> HostArray:
        """(n,) The rows' own weights; those of the classes go into the loss, scaled to mean 1 over all labels."""
        n = len(targets.lengths)
        weights = weights_of(sample_weight, n) if whole else weights_of_part(sample_weight, n)
        own, labels = self._of_labels(targets, weights)
        if self.class_weight is None or (whole and not own.any()):
            self._factors = None
        else:
            counts = np.bincount(labels, weights=own, minlength=len(self.classes))
            factors = class_factors(self.class_weight, self.classes, counts, whole)
            own_sum, weighted = (float(counts.sum()), float(counts @ factors)) if whole else (1.0, 1.0)
            self.weigh_classes(factors, own_sum, weighted)
        return weights

    def _of_labels(self, targets: Encoded, weights: HostArray) -> tuple[HostArray, HostArray]:
        """Of all labels that count: the weights of their rows, and the numbers of their classes."""
        counts = targets.steps != IGNORED
        return np.repeat(weights, targets.lengths)[counts], targets.steps[counts]

    def total(self, targets: Encoded, weights: HostArray) -> float:
        own, labels = self._of_labels(targets, weights)
        return float((own if self._factors is None else own * self._factors[labels]).sum())

    def weigh_classes(self, factors: HostArray, own: float, weighted: float) -> None:
        """Go by these weights of the classes (K,); `own` and `weighted` are sums over all labels, without and with."""
        self._factors = None if self.class_weight is None or not weighted else factors * (own / weighted)

    def split(self, targets: Encoded, fraction: float, rng: np.random.Generator) -> tuple[HostArray, HostArray]:
        """Rows of which no label counts train: nothing could be said of them in a validation part."""
        counted = np.flatnonzero(self.terms(targets))
        _, aside = super().split(counted, fraction, rng)
        return np.setdiff1d(np.arange(len(targets.lengths)), counted[aside]), counted[aside]

    # ------------------------------------------------------------ on the device

    @property
    def outputs(self) -> int:
        return self.form.outputs

    def batch(self, targets: Encoded, rows: HostArray, backend: Backend, dtype: str) -> Block:
        block, lengths = targets.padded(rows)
        block[np.arange(block.shape[1]) >= np.array(lengths)[:, None]] = IGNORED
        return Block(backend.adopt(block), self._factors_on(backend, dtype))

    def placed(self, targets: Encoded, backend: Backend, dtype: str) -> Placed:
        table = backend.from_host(np.stack([targets.starts, targets.lengths]))
        numbers, factors = backend.upload(targets.steps), self._factors_on(backend, dtype)
        return Placed(numbers, table[0, :], table[1, :], targets.lengths, factors)

    def gathered(self, placed: Placed, rows: HostArray, places: Array, backend: Backend) -> Block:
        xp, time = backend.namespace, int(placed.on_host[rows].max())
        lengths = xp.take(placed.lengths, places, axis=0)
        block = backend.gather(placed.numbers, xp.take(placed.starts, places, axis=0), lengths, time)
        valid = xp.arange(time, dtype=lengths.dtype, device=lengths.device)[None, :] < lengths[:, None]
        return Block(xp.where(valid, block, xp.full_like(block, IGNORED)), placed.factors)

    def _factors_on(self, backend: Backend, dtype: str) -> Array | None:
        return None if self._factors is None else backend.from_host(self._factors.astype(dtype))

    def loss(self, outputs: Array, targets: Block, weights: Array) -> tuple[Array, Array]:
        """See the base. The loss is divided by the number of labels that count: it is their weighted mean."""
        counts = targets.numbers != IGNORED
        if targets.factors is not None:
            weights = self._of_steps(targets, weights)
        loss = losses.logistic_cross_entropy if self.form.outputs == 1 else losses.softmax_cross_entropy
        return loss(outputs, targets.numbers, weights, mask=counts)

    def _of_steps(self, targets: Block, weights: Array) -> Array:
        """(N, T) The weights of all steps that count, those of their classes included; of others any."""
        xp, numbers = array_namespace(weights), targets.numbers
        if targets.factors is None:
            return xp.broadcast_to(weights[:, None], numbers.shape)
        classes = xp.where(numbers != IGNORED, numbers, xp.zeros_like(numbers))
        factors = xp.take(targets.factors, xp.reshape(classes, (-1,)), axis=0)
        return weights[:, None] * xp.reshape(factors, numbers.shape)

    @property
    def weighs_terms(self) -> bool:
        return self._factors is not None

    def weighted_sums(self, outputs: Array, targets: Block, weights: Array) -> tuple[Array, ...]:
        xp, (N, T, K) = array_namespace(outputs), outputs.shape
        of_steps = self._of_steps(targets, weights)
        of_steps = xp.where(targets.numbers != IGNORED, of_steps, xp.zeros_like(of_steps))
        numbers, of_steps = (xp.reshape(each, (N * T,)) for each in (targets.numbers, of_steps))
        return weighted_hits(self.form, xp.reshape(outputs, (N * T, K)), numbers, of_steps)

    def weighted_score(self, sums: list[float], loss: float) -> float:
        return share(sums)

    def score_sums(self, outputs: Array, targets: Block) -> tuple[Array, ...]:
        xp, (N, T, K) = array_namespace(outputs), outputs.shape
        right = self.form.likeliest(xp.reshape(outputs, (N * T, K))) == xp.reshape(targets.numbers, (N * T,))
        return (xp.sum(xp.astype(right, outputs.dtype)),)  # IGNORED is never predicted

    # ------------------------------------------------------------ on the host

    def scores(self, sums: list[float], rows: int) -> dict[str, float]:
        return {"accuracy": sums[0] / rows}

    def score(self, outputs: Encoded, targets: Encoded, weights: HostArray) -> float:
        of_steps = np.repeat(weights, targets.lengths) * (targets.steps != IGNORED)
        if not of_steps.any():
            raise ValueError("no label of y counts: there is nothing to score.")
        return float(np.average(predicted(self.form, outputs.steps) == targets.steps, weights=of_steps))

    def answers(self, outputs: Encoded) -> list[HostArray]:
        numbers = predicted(self.form, outputs.steps)
        home = backends.owner(numbers)
        return _rows(self.classes[numbers if home is None else home.to_host(numbers)], outputs)

    def details(self, outputs: Encoded) -> list[Array]:
        """Of each sequence the probability of each class, (time, K)."""
        return _rows(self.form.probabilities(outputs.steps), outputs)

    def log_probabilities(self, outputs: Encoded) -> list[Array]:
        """The logarithm of the probability of each class, also where that is too small for a number."""
        return _rows(self.form.log_probabilities(outputs.steps), outputs)

    def decision(self, outputs: Encoded) -> list[Array]:
        """Of each sequence the logits (time, K), or for two classes (time,), above 0 where the second is likelier."""
        return _rows(self.form.decision(outputs.steps), outputs)

    def random_targets_of(self, lengths: HostArray, rng: np.random.Generator) -> Encoded:
        return Encoded.of(rng.integers(0, len(self.classes), int(lengths.sum())), lengths)

    # ------------------------------------------------------------ files

    def state(self) -> dict[str, Any]:
        ignore = self.ignore.item() if isinstance(self.ignore, np.generic) else self.ignore
        return {**Classes(self.classes).state(), "ignore": ignore}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> StepClasses:
        if state.keys() != {"classes", "ignore"}:
            raise ValueError(f"the task has {sorted(state)}, expected the classes and the label to ignore")
        classes, ignore = Classes.from_state({"classes": state["classes"]}).classes, state["ignore"]
        if ignore is not None and (not isinstance(ignore, (str, bool, int, float)) or ignore in classes.tolist()):
            raise ValueError(f"the label to ignore is {told(ignore)}")
        return cls(classes, ignore)


class StepsSurvey(ClassesSurvey):
    """Of the labels of all steps that count."""

    def labels(self, y: Any, rows: int) -> HostArray:
        return steplabels.read(y, rows, self.task.ignore).labels

    def counted(self, targets: Encoded, own: HostArray) -> tuple[HostArray, HostArray]:
        counts = targets.steps != IGNORED
        return targets.steps[counts], np.repeat(own, targets.lengths)[counts]

    def settle(self, whole: bool) -> None:
        own = self.weight
        super().settle(whole)
        if whole:
            self.task.weigh_classes(self.factors, own, self.weight)
        else:
            self.task.weigh_classes(self.factors, 1.0, 1.0)
        self.weight = own if self.weight else 0.0  # the rows': the weights of the classes are in the loss

    def weights(self, targets: Encoded, own: HostArray) -> HostArray:
        return own


def _targets(given: StepLabels, classes: HostArray) -> Encoded:
    return Encoded.of(given.numbers(classes), given.lengths)


def _rows(steps: Array, outputs: Encoded) -> list[Any]:
    """What all steps have, (S, …), by sequences: views of it."""
    ends = (outputs.starts + outputs.lengths).tolist()
    return [steps[start:end, ...] for start, end in zip(outputs.starts.tolist(), ends, strict=True)]
