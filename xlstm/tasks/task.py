"""What a task is: all that training and prediction ask of a kind of answer, and nothing else knows.

An estimator learns a task from its first y, keeps it with its model, and asks it ever after. `Targets` are what a task
makes of y, on the host: an array (n, …) for most; a task that needs more (a target for each step, say) keeps what it
likes and overrides `take`, `joined`, `batch` and `marks`, the only ones that look into it.

Shapes: n all rows, N the rows of a batch, K outputs of the model.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, TypeVar

import numpy as np

from ..backends import Backend
from ..host import HostArray
from ..labels import weights_of, weights_of_part
from ..namespace import Array
from ..series import Series, Texts
from .survey import Survey

Targets = Any
T = TypeVar("T")


class Task:
    """A kind of answer. Subclasses are registered: `@registry.TASKS.register("name")`.

    Attributes
    ----------
    kind : str
        The name by which files know it.
    score_names : tuple of str
        What `scores` gives, the one that early stopping goes by first. Of a score "accuracy" the estimator has the
        attribute `accuracy_curve_`.
    higher_is_better : bool
        Of the first of `score_names`.
    score_is_a_mean : bool
        Whether what `score` gives of all rows is the mean of what it gives of parts of them, weighted as they are.
    settings : tuple of str
        Settings of the estimator that the task goes by: before each training they become its attributes.
    offers : dict of str to str
        What there is to ask beyond `predict` and `score`, by the name that estimators, prepared models and streams have
        for it: the name of the task's own attribute, or of its method of outputs (n, K).
    anywhere : bool
        Whether `answers` and what `offers` names take outputs on a device, as CuPy has them, which are then never
        brought to the host. It is a class's own word and is not inherited: a subclass that overrides one of them may
        know NumPy alone. Where it is False they are given NumPy arrays, and numbers that they give return to the
        device.
    """

    kind = ""
    score_names: tuple[str, ...] = ()
    higher_is_better = True
    score_is_a_mean = True
    settings: tuple[str, ...] = ()
    offers: ClassVar[dict[str, str]] = {}
    anywhere = False

    # ------------------------------------------------------------ y

    @classmethod
    def learn(cls, y: Any, rows: int, declared: Any = None) -> tuple[Task, Targets]:
        """A task for such y, and y as its targets.

        Parameters
        ----------
        y
            As the user gave it, for `rows` sequences: what is wrong with it is an error that names the row.
        declared
            All that will ever come, where the user has said so.
        """
        raise NotImplementedError

    def read(self, y: Any, rows: int) -> Targets:
        """The targets of a later y, which has to be like the first."""
        raise NotImplementedError

    def declared(self, classes: Any) -> HostArray:
        """All labels that will ever come, as the user has said them, in the order of the outputs."""
        raise ValueError(f"answers of the kind {self.kind!r} have no classes: leave `classes` out.")

    def check_lengths(self, targets: Targets, lengths: HostArray) -> None:
        """Raise where the targets do not go with sequences of these lengths (n,), for a task that looks at steps."""

    def doubts(self, data: Series | Texts, targets: Targets, fold_case: bool) -> Iterable[str | None]:
        """What there is to say of a first y that was understood in one way, and may have been meant in another."""
        return ()

    def check_enough(self, targets: Targets, whole: bool) -> None:
        """Raise where nothing can be learned of these targets: all there are (`whole`), or a first part of them."""

    def measure(self, targets: Targets) -> None:
        """Take what the task needs to know of the targets (a scale, say) from those of the training part.

        Rows of weight 0 are not among them, unless all are.
        """

    def terms(self, targets: Targets) -> HostArray | None:
        """(n,) Of how many terms the loss of each row is made; None for one a row.

        The loss of a batch is a mean over its terms, and so are the loss and the scores of an epoch.
        """
        return None

    def take(self, targets: Targets, rows: HostArray) -> Targets:
        """The targets of some rows, on the host."""
        return targets[rows]

    def marks(self, targets: Targets, n: int) -> list[bytes]:
        """Of each of the n rows, what tells its target from others, the same in every fit: see `xlstm.sides`."""
        rows = (np.asarray(self.take(targets, np.array([row]))) for row in range(n))
        return [ascii(row.tolist()).encode() for row in rows]

    def survey(self, is_open: bool) -> Survey:
        """What takes y in parts, where memory does not hold it, once `learn` has seen the first of them."""
        return Survey(self, is_open)

    def joined(self, parts: list[Targets]) -> Targets:
        """The targets of several parts as those of one, in their order."""
        return np.concatenate(parts)

    def weights(self, targets: Targets, sample_weight: Any, whole: bool = True) -> HostArray:
        """(n,) float64: the weight of each row, as the user gave it or 1; not yet of mean 1.

        `whole` says whether these are all rows, of which only the proportions of weights matter. The weights of a part
        count as they were given, those of classes included, for nobody knows the other parts.
        """
        return (weights_of if whole else weights_of_part)(sample_weight, len(targets))

    def total(self, targets: Targets, weights: HostArray) -> float:
        """The sum of the weights of all terms, of rows with these (n,): where it is 0 there is nothing to learn."""
        terms = self.terms(targets)
        return float((weights if terms is None else weights * terms).sum())

    def split(self, targets: Targets, fraction: float, rng: np.random.Generator) -> tuple[HostArray, HostArray]:
        """Row numbers, in order, of the training part and of the validation part with `fraction` of the rows."""
        n = len(targets)
        wanted = int(np.ceil(n * fraction))
        if wanted >= n:
            raise ValueError(f"{n} rows are too few to set {wanted} of them aside.")
        chosen = np.zeros(n, dtype=bool)
        chosen[rng.permutation(n)[:wanted]] = True
        return np.flatnonzero(~chosen), np.flatnonzero(chosen)

    # ------------------------------------------------------------ on the device

    @property
    def outputs(self) -> int:
        """K."""
        raise NotImplementedError

    def batch(self, targets: Targets, rows: HostArray, backend: Backend, dtype: str) -> Any:
        """The targets of some rows on the device, real numbers in the model's dtype: what `loss` is given."""
        chosen = self.take(targets, rows)
        return backend.adopt(chosen.astype(dtype) if chosen.dtype.kind == "f" else chosen)

    def placed(self, targets: Targets, backend: Backend, dtype: str) -> Any:
        """All targets on a GPU, as `batch` gives them, of which the rows of each batch are gathered there.

        None where `batch` has to be asked for each batch: of a task that overrides `take` or `batch`, and of targets
        that are no array.
        """
        plain = type(self).take is Task.take and type(self).batch is Task.batch and isinstance(targets, np.ndarray)
        return self.batch(targets, np.arange(len(targets)), backend, dtype) if plain else None

    def gathered(self, placed: Any, rows: HostArray, places: Array, backend: Backend) -> Any:
        """What `batch` gives for some rows, of what `placed` gave. Row numbers are on the host, and on the device."""
        return backend.namespace.take(placed, places, axis=0)

    def loss(self, outputs: Array, targets: Any, weights: Array) -> tuple[Array, Array]:
        """The loss of a batch and its gradient.

        Parameters
        ----------
        outputs : (N, K), or (N, T, K) of a task of every step
            Of the model, before any activation.
        targets
            As `batch` gives them.
        weights : (N,)

        Returns
        -------
        loss : ()
            The weighted sum over the rows, divided by N; of a task that has `terms`, divided by their number.
        d_outputs : like the outputs
        """
        raise NotImplementedError

    def fast_loss(self, backend: Backend, dtype: str, kernels: str) -> Any:
        """What computes `loss` and `score_sums` at once, or None, which is always right: see `backends.find_loss`.

        A task whose loss a backend has names it here, and says None for subclasses with another loss or other scores.
        Its `score_sums` are then one number, of the rows that are right.
        """
        return None

    def score_sums(self, outputs: Array, targets: Any) -> tuple[Array, ...]:
        """Sums over the rows of a batch, each (), of which `scores` makes the scores of all batches."""
        raise NotImplementedError

    @property
    def weighs_terms(self) -> bool:
        """Whether the loss weighs the terms of a row by what they are to be, beside the weight of the row."""
        return False

    def weighted_sums(self, outputs: Array, targets: Any, weights: Array) -> tuple[Array, ...]:
        """Sums over the rows of a batch, each (), weighted as `loss` is, of which `weighted_score` is made.

        None of them, the default, where the loss itself is that score, or where there is none.
        """
        return ()

    # ------------------------------------------------------------ on the host

    def weighted_score(self, sums: list[float], loss: float) -> float | None:
        """The first of `score_names`, weighted as the loss is: of a validation part it is what early stopping goes by.

        Parameters
        ----------
        sums
            `weighted_sums` over all rows.
        loss
            The mean loss, weighted.

        Returns
        -------
        float or None
            None, the default, where the task has no such score: early stopping goes by the first, all rows alike.
        """
        return None

    def scores(self, sums: list[float], rows: int) -> dict[str, float]:
        """Each of `score_names`, from the sums over all `rows`; of a task that has `terms`, over so many of them."""
        raise NotImplementedError

    def score(self, outputs: Any, targets: Targets, weights: HostArray) -> float:
        """How good outputs (n, K) are, weighted by `weights` (n,): what `score` of an estimator returns; high is good.

        It may be another than the first of `score_names`, which early stopping goes by: subset accuracy, say, beside
        log losses.

        Here and below, a task of every step is given the outputs of all steps as `xlstm.batch.Encoded`, and gives a
        list with what each sequence has.
        """
        raise NotImplementedError

    def answers(self, outputs: Any) -> Any:
        """What `predict` gives for outputs (n, K): n answers, on the host. For outputs on a device see `anywhere`."""
        raise NotImplementedError

    def details(self, outputs: Any) -> Any:
        """What a stream and a prepared model give: the outputs in readable form, (n, …), such as probabilities."""
        return outputs

    def random_targets(self, n: int, rng: np.random.Generator) -> Targets:
        """Any n targets, for a check of gradients."""
        raise NotImplementedError

    def random_targets_of(self, lengths: HostArray, rng: np.random.Generator) -> Targets:
        """Any targets for sequences of these lengths, for a check of gradients."""
        return self.random_targets(len(lengths), rng)

    # ------------------------------------------------------------ files

    def state(self) -> dict[str, Any]:
        """What a file keeps, as JSON has it; `settings` are not part of it."""
        raise NotImplementedError

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Task:
        """The task of a file's `state`. A file may hold anything: what does not fit is a ValueError."""
        raise NotImplementedError

    # ------------------------------------------------------------ for all tasks

    def follow(self, estimator: object) -> None:
        """Go by the estimator's settings of today, which are its attributes."""
        for name in self.settings:
            setattr(self, name, getattr(estimator, name))

    def offered(self, name: str) -> Any:
        """What stands in `offers` under this name.

        Raises
        ------
        AttributeError
            If the task does not offer it.
        """
        if name not in self.offers:
            others = ", ".join(["predict", "score", *self.offers])
            raise AttributeError(f"there is no {name} for answers of the kind {self.kind!r}, which have {others}.")
        return getattr(self, self.offers[name])

    @property
    def first_score(self) -> str:
        """The name of the score that early stopping goes by, weighted or not."""
        return self.score_names[0]

    @property
    def weighted_name(self) -> str:
        """The name of `weighted_score` in a history, beside `score_names`."""
        return f"weighted_{self.first_score}"

    def decisive(self, scores: Mapping[str, T]) -> T:
        """Of scores by name the one that early stopping goes by: the first, weighted where rows have weights."""
        return scores[self.weighted_name if self.weighted_name in scores else self.first_score]

    def goodness(self, scores: Mapping[str, float]) -> float:
        """How good an epoch with these scores is, by the decisive one: the higher the better; NaN is worst."""
        score = self.decisive(scores)
        if math.isnan(score):
            return -math.inf
        return score if self.higher_is_better else -score

    def best(self, scores: list[float]) -> float:
        """The best of some first scores."""
        return max(scores, key=lambda score: self.goodness({self.first_score: score}))
