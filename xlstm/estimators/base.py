"""What all sequence estimators share: settings in scikit-learn's manner, one road of training, moving, saving.

No mathematics here, and nothing of what y is: that is the task's. An estimator for another kind of answer is a subclass
that names its tasks, registered under its name:

    @ESTIMATORS.register("SequenceCounter")
    class SequenceCounter(SequenceEstimator):
        tasks = (Counts,)

It works the same without scikit-learn, and imports it only when scikit-learn itself asks for its tags.
"""

from __future__ import annotations

import copy
import inspect
import sys
from typing import Any, ClassVar, TypeVar

import numpy as np

from .. import backends, cells, columns, encode, optim, sequences, train
from ..batch import size_for
from ..fitted import Fitted
from ..labels import mean_one, weights_of
from ..model import Architecture, Model
from ..readout import READOUTS
from ..seeds import own_generator
from ..sequences import HostArray
from ..stream import Prepared, Stream
from ..tasks import Task
from .constraints import Choice, Constraint, Flag, FloatType, Integer, Number

Self = TypeVar("Self", bound="SequenceEstimator")

OPTIMIZER_SETTINGS = ("alpha", "momentum", "beta_1", "beta_2", "epsilon")
OF_THE_DATA = ("input_size", "tokens", "outputs")
"""What of an architecture no setting says, ..."""
OF_THE_START = ("init",)
"""... and what is of no effect on a model that has been trained."""


class SequenceEstimator:
    """The base of the estimators. For the parameters and attributes see `SequenceClassifier`, which has them all.

    Attributes
    ----------
    kind : str
        The name by which files know it: see `xlstm.registry`.
    tasks : tuple of Task classes
        The kinds of answers that it gives; the first is learned unless a subclass says otherwise.
    constraints : dict of str to Constraint
        What each setting may be. The settings that are not in it are checked where they are used.
    settings_before : dict of str to value
        Of each setting that came after the first version, what a file without it stands for.
    progress : callable or None
        Called after each epoch with its number, the number of epochs and the history, in place of the lines that
        `verbose` writes. No parameter: copies by scikit-learn and files have none.
    """

    kind: ClassVar[str] = ""
    tasks: ClassVar[tuple[type[Task], ...]] = ()
    settings_before: ClassVar[dict[str, Any]] = {"readout": "final"}
    progress: train.Progress | None = None

    constraints: ClassVar[dict[str, Constraint]] = {
        "cell": Choice(cells.CELLS),
        "hidden_size": Integer(1),
        "num_layers": Integer(1),
        "bidirectional": Flag(),
        "dropout": Number(0, 1, "[)"),
        "token_dropout": Number(0, 1, "[)"),
        "embedding_size": Integer(1, besides=(None,)),
        "encoding": Choice(sequences.ENCODINGS),
        "fold_case": Flag(),
        "standardize": Flag(),
        "solver": Choice(optim.SOLVERS),
        "alpha": Number(0, np.inf, "[)"),
        "learning_rate_init": Number(0, np.inf, "()"),
        "learning_rate": Choice(optim.SCHEDULES, hint=" The number is learning_rate_init."),
        "warmup": Integer(0),
        "momentum": Number(0, 1, "[)"),
        "beta_1": Number(0, 1, "[)"),
        "beta_2": Number(0, 1, "[)"),
        "epsilon": Number(0, np.inf, "()"),
        "batch_size": Integer(1, besides=("auto",), below=np.inf),
        "max_iter": Integer(1, besides=(None,)),
        "max_grad_norm": Number(0, np.inf, "(]", besides=(None,)),
        "early_stopping": Flag(),
        "validation_fraction": Number(0, 1, "()"),
        "n_iter_no_change": Integer(1),
        "tol": Number(0, np.inf, "[)"),
        "warm_start": Flag(),
        "dtype": FloatType(),
        "readout": Choice([name for name, readout in READOUTS.items() if not readout.each_step]),
    }

    def __init__(
        self,
        cell: str = "lstm",
        hidden_size: int = 64,
        num_layers: int = 1,
        bidirectional: bool = False,
        dropout: float = 0.0,
        token_dropout: float = 0.0,
        embedding_size: int | None = None,
        encoding: str = "auto",
        fold_case: bool = True,
        standardize: bool = True,
        init: str = "orthogonal",
        solver: str = "adam",
        alpha: float = 0.0,
        learning_rate_init: float = 0.002,
        learning_rate: str = "constant",
        warmup: int = 0,
        momentum: float = 0.9,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        batch_size: int | str = "auto",
        max_iter: int | None = None,
        max_grad_norm: float | None = 1.0,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 10,
        tol: float = 1e-4,
        warm_start: bool = False,
        dtype: str = "float32",
        device: str | None = None,
        kernels: str = "auto",
        random_state: Any = None,
        verbose: bool = False,
        readout: str = "final",
    ) -> None:
        self.cell = cell
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.bidirectional = bidirectional
        self.dropout = dropout
        self.token_dropout = token_dropout
        self.embedding_size = embedding_size
        self.encoding = encoding
        self.fold_case = fold_case
        self.standardize = standardize
        self.init = init
        self.solver = solver
        self.alpha = alpha
        self.learning_rate_init = learning_rate_init
        self.learning_rate = learning_rate
        self.warmup = warmup
        self.momentum = momentum
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.batch_size = batch_size
        self.max_iter = max_iter
        self.max_grad_norm = max_grad_norm
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.warm_start = warm_start
        self.dtype = dtype
        self.device = device
        self.kernels = kernels
        self.random_state = random_state
        self.verbose = verbose
        self.readout = readout

    # ------------------------------------------------------------ scikit-learn's manners

    @classmethod
    def _parameter_names(cls) -> list[str]:
        return list(inspect.signature(cls).parameters)

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The constructor's parameters and their values. `deep` is of no effect: none of them is an estimator."""
        return {name: getattr(self, name) for name in self._parameter_names()}

    def set_params(self: Self, **values: Any) -> Self:
        """Set some of the constructor's parameters.

        Raises
        ------
        ValueError
            If there is no such parameter; none is then changed.
        """
        known = self._parameter_names()
        for name in values:
            if name not in known:
                raise ValueError(f"Invalid parameter {name!r} for estimator {self}. Valid parameters are: {known!r}.")
        for name, value in values.items():
            setattr(self, name, value)
        return self

    def __repr__(self) -> str:
        defaults = {name: p.default for name, p in inspect.signature(type(self)).parameters.items()}
        changed = (
            f"{name}={value!r}" for name, value in self.get_params().items() if repr(value) != repr(defaults[name])
        )
        return f"{type(self).__name__}({', '.join(changed)})"

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import InputTags, Tags, TargetTags

        return Tags(
            estimator_type=None,
            target_tags=TargetTags(required=True),
            input_tags=InputTags(two_d_array=True, three_d_array=True, string=True),
        )

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "_fitted")

    # ------------------------------------------------------------ settings

    def check_parameters(self) -> None:
        """Raise where a setting is out of its range: all but those that are checked where they are used.

        Raises
        ------
        ValueError
            With the name of the setting, what was expected and what was given.
        """
        for name, constraint in self.constraints.items():
            constraint.check(name, getattr(self, name))

    def optimizer_numbers(self) -> dict[str, float]:
        """The settings that the optimiser goes by, apart from the learning rate."""
        return {name: self._plain(name) for name in OPTIMIZER_SETTINGS}

    def _plain(self, name: str) -> Any:
        """A setting, checked before, as Python's own value where a constraint says what it is."""
        value = getattr(self, name)
        return self.constraints[name].plain(value) if name in self.constraints else value

    def _training_settings(self, rows: int, whole: bool) -> train.Settings:
        """How to train on so many rows: the whole data, or one epoch of a part of it."""
        plain = self._plain
        batch_size = size_for(rows, plain("batch_size"))
        epochs = plain("max_iter") or train.epochs_for(rows, batch_size)
        return train.Settings(
            epochs=epochs if whole else 1,
            batch_size=batch_size,
            learning_rate=plain("learning_rate_init"),
            schedule=plain("learning_rate") if whole else "constant",
            warmup=plain("warmup"),
            max_grad_norm=plain("max_grad_norm"),
            token_dropout=plain("token_dropout"),
            patience=plain("n_iter_no_change") if plain("early_stopping") else None,
            tol=plain("tol"),
            continued=not whole,
        )

    def _architecture(self, encoder: encode.Encoder, task: Task) -> Architecture:
        """What the settings ask for, for such data. A setting with the name of a part of an architecture is it."""
        tokens = isinstance(encoder, encode.TokenEncoder)
        chosen = {name: self._plain(name) for name in Architecture._fields if hasattr(self, name)}
        if not tokens:
            chosen["embedding_size"] = None
        return Architecture(input_size=encoder.size, tokens=tokens, outputs=task.outputs, **chosen)

    def _check_same_model(self, fitted: Fitted) -> None:
        """Raise where the settings ask for another model than the one to go on from."""
        old, new = fitted.model.architecture, self._architecture(fitted.encoder, fitted.task)
        for name in Architecture._fields:
            if name not in (*OF_THE_DATA, *OF_THE_START) and getattr(old, name) != getattr(new, name):
                raise ValueError(
                    f"{name} is {getattr(new, name)!r}, but the model to go on from has {getattr(old, name)!r}: "
                    "set it back, or train a new one with fit and warm_start=False."
                )

    # ------------------------------------------------------------ fit

    def fit(self: Self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train on sequences X and their answers y.

        Parameters
        ----------
        X
            See the class.
        y
            (n,) answers: for a classifier labels, strings or numbers.
        sample_weight
            (n,) weights of 0 or more, or None for 1.

        Raises
        ------
        ValueError
            If a sequence is empty, holds NaN or has other features than the rest (the row is named); if there are not
            as many answers; if a classifier is given but one class; if a parameter is out of range.
        TypeError
            If X is of a type that cannot be read.
        FloatingPointError
            If training diverges.

        None of these changes the estimator.
        """
        old = self._fitted if self.warm_start and self.__sklearn_is_fitted__() else None
        return self._train_on(X, y, sample_weight, old, whole=True)

    def partial_fit(self: Self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """One more epoch, on these rows alone, with the optimiser where it was.

        A warm-up goes on over the calls; after it the learning rate is constant, for nobody knows how many calls there
        will be.

        Parameters
        ----------
        X, y, sample_weight
            As for `fit`.

        Raises
        ------
        ValueError
            As `fit`.
        """
        old = self._fitted if self.__sklearn_is_fitted__() else None
        return self._train_on(X, y, sample_weight, old, whole=False)

    def _train_on(
        self: Self, X: Any, y: Any, sample_weight: Any, old: Fitted | None, *, whole: bool, declared: Any = None
    ) -> Self:
        """The one road of training.

        Parameters
        ----------
        old
            The model to go on from; it stays as it is. None builds a new one.
        whole
            Whether these rows are the whole data, for all epochs, or a part of it, for one more.
        declared
            For a new model, all answers that will ever come, where they are known: see `Task.learn`.
        """
        self.check_parameters()
        data = sequences.read(X, self.encoding)
        rows = len(data.lengths)
        if old is None:
            fitted = None
            task, targets = self._learn(y, rows, declared)
        else:
            targets = old.task.read(y, rows)
            old.check(data, X)
            self._check_same_model(old)
            fitted = copy.deepcopy(old)
            task = fitted.task
        task.follow(self)
        task.check_enough(targets, whole)
        weights = task.weights(targets, sample_weight)
        rng = own_generator(self.random_state) if fitted is None else fitted.trainer.rng
        kept, aside = np.arange(rows), None
        if whole and self.early_stopping:
            kept, aside = task.split(targets, self.validation_fraction, rng)
        if fitted is None:
            task.measure(task.take(targets, kept))
            encoder = encode.fit(sequences.take(data, kept), bool(self.fold_case), bool(self.standardize))
            fitted = self._build(encoder, task, data, X, len(kept), rng)
        self._follow_settings(fitted)
        encoded, dtype = fitted.encoded(data), fitted.model.architecture.dtype

        def labelled(part: HostArray, own: HostArray) -> train.Labelled:
            return train.Labelled(encoded.rows(part), task.take(targets, part), mean_one(own).astype(dtype))

        training, validation = labelled(kept, weights[kept]), None
        if aside is not None:
            # A validation part that chance gave no weight is measured as if it had no weights.
            validation = labelled(aside, weights[aside] if weights[aside].any() else np.ones(len(aside)))
        if whole:
            fitted.trainer.history = train.History()
        progress = self.progress or (train.print_progress if self.verbose else None)
        fitted.trainer.fit(training, validation, self._training_settings(len(kept), whole), progress)
        self._take_over(fitted)
        return self

    def _learn(self, y: Any, rows: int, declared: Any) -> tuple[Task, Any]:
        """A new task for such y, and y as its targets."""
        return self.tasks[0].learn(y, rows, declared)

    def _build(
        self, encoder: encode.Encoder, task: Task, data: Any, X: Any, rows: int, rng: np.random.Generator
    ) -> Fitted:
        """A new model for such data, of which `rows` train it."""
        architecture = self._architecture(encoder, task)
        flops = architecture.flops_per_step(size_for(rows, self._plain("batch_size")))
        model = Model(architecture, backends.select(self.device, "auto", flops), self.kernels, rng)
        trainer = train.Trainer(model, task, self._optimizer(model), rng)
        width = data.columns if isinstance(data, sequences.Series) else None
        return Fitted(trainer, encoder, width, columns.names_of(X), type(self).__name__)

    def _optimizer(self, model: Model) -> optim.Optimizer:
        return train.optimizer_for(model, self.solver, **self.optimizer_numbers())

    def _follow_settings(self, fitted: Fitted) -> None:
        """The optimiser goes by the settings of today, which may be others than when it was made."""
        optimizer = fitted.trainer.optimizer
        if optimizer.solver != self.solver:
            fitted.trainer.optimizer = self._optimizer(fitted.model)
            return
        for name, value in self.optimizer_numbers().items():
            setattr(optimizer, name, value)

    def _take_over(self, fitted: Fitted) -> None:
        """Make this the estimator's state, all of it at once."""
        self._fitted = fitted
        history, model, task = fitted.trainer.history, fitted.model, fitted.task
        self.n_iter_ = len(history.loss)
        self.loss_curve_ = list(history.loss)
        self.loss_ = history.loss[-1] if history.loss else float("nan")
        for name in task.score_names:
            setattr(self, f"{name}_curve_", list(history.scores.get(name, ())))
        self.n_features_in_ = fitted.columns if fitted.columns is not None else fitted.encoder.size
        self.device_, self.kernels_ = model.backend.device, model.kernels
        for name in ("validation_loss_curve_", "validation_scores_", "best_validation_score_", "feature_names_in_"):
            if hasattr(self, name):
                delattr(self, name)
        if history.validation_loss:
            self.validation_loss_curve_ = list(history.validation_loss)
            self.validation_scores_ = list(history.validation_scores[task.score_names[0]])
            self.best_validation_score_ = task.best(self.validation_scores_)
        if fitted.feature_names is not None:
            self.feature_names_in_ = fitted.feature_names

    # ------------------------------------------------------------ predict

    def fitted_state(self) -> Fitted:
        """All that training made: model, task, encoder, optimiser. It belongs to the estimator: not to be changed.

        Raises
        ------
        ValueError
            If the estimator is not fitted; where scikit-learn is loaded it is also its NotFittedError.
        """
        if not self.__sklearn_is_fitted__():
            message = (
                f"This {type(self).__name__} instance is not fitted yet. Call 'fit' with appropriate arguments first."
            )
            if "sklearn" in sys.modules:
                from sklearn.exceptions import NotFittedError

                raise NotFittedError(message)
            raise ValueError(message)
        return self._fitted

    def predict(self, X: Any) -> HostArray:
        """The answer for each sequence, (n,): for a classifier its most probable class."""
        fitted = self.fitted_state()
        return fitted.task.answers(fitted.outputs(X, self.encoding))

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """How good the answers for X are beside y, weighted by `sample_weight`: for a classifier, accuracy.

        Raises
        ------
        ValueError
            If y is not like that of the training, a label not one of `classes_`: the row is named.
        """
        fitted = self.fitted_state()
        outputs = fitted.outputs(X, self.encoding)
        targets = fitted.task.read(y, len(outputs))
        return fitted.task.score(outputs, targets, weights_of(sample_weight, len(outputs)))

    # ------------------------------------------------------------ elsewhere

    def to(self: Self, device: str | None) -> Self:
        """A copy of the fitted estimator on another device, its optimiser included; the original stays.

        Raises
        ------
        RuntimeError
            If that device cannot be used; the message says what is missing.
        """
        fitted = self.fitted_state()
        backend = backends.select(device, "auto", fitted.model.architecture.flops_per_step())
        other = copy.copy(self)
        other.device = backend.device
        other._take_over(fitted.to(backend))
        return other

    def stream(self) -> Stream:
        """Feed one sequence in parts and read, after each, what a classifier gives as probabilities: see `Stream`.

        Raises
        ------
        ValueError
            If the model is bidirectional: its second direction begins at the end.
        """
        return Stream(self.fitted_state(), self.encoding)

    def prepare(self) -> Prepared:
        """A frozen copy for inference, its parameters packed once: `probabilities = call(X)`; see `Prepared`."""
        return Prepared(self.fitted_state(), self.encoding)

    def save(self, path: Any) -> None:
        """Write the estimator to one file, whole or not at all: `xlstm.load` reads it.

        Parameters
        ----------
        path
            The file; an older one of the name is replaced.

        Raises
        ------
        OSError
            If it cannot be written. The older file is then untouched.
        """
        from .. import checkpoint

        checkpoint.save(self, path)

    def state(self) -> tuple[dict[str, Any], list[HostArray]]:
        """What a file keeps of the fitted estimator: the header, as JSON has it, and the arrays."""
        from . import state

        return state.of(self)

    @classmethod
    def from_state(cls: type[Self], header: dict[str, Any], arrays: list[HostArray], device: str | None = None) -> Self:
        """The estimator of a file, on a device: the contrary of `state`.

        Raises
        ------
        xlstm.checkpoint.NotUnderstood
            If they are not such a state, a ValueError: what is wrong.
        """
        from . import state

        estimator: Self
        estimator, fitted = state.restored(cls, header, arrays, device)
        estimator._take_over(fitted)
        return estimator
