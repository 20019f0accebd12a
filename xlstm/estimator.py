"""The classifier that users type: scikit-learn's manners over `model` and `train`. No mathematics here.

It works the same without scikit-learn, and imports it only when scikit-learn itself asks for its tags. Longer than
other files: half of it is the public docstring and the constructor that scikit-learn's manners ask for.
"""

from __future__ import annotations

import copy
import inspect
import operator
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from . import backends, batch, columns, encode, layers, losses, optim, sequences, train
from .fitted import Fitted
from .labels import classes_of, known, mean_one, row_weights
from .model import Architecture, Model
from .seeds import own_generator
from .sequences import HostArray
from .stream import Prepared, Stream

UPDATE_BUDGET = 1000
"""With max_iter=None, so many updates are made, ..."""
MIN_EPOCHS = 20
"""... but at least so many epochs, ..."""
MAX_EPOCHS = 400
"""... and at most so many."""


Progress = Callable[[int, int, train.History], None]
"""Called after each epoch with its number, the number of epochs and the history."""


class SequenceClassifier:
    """A recurrent network that reads a sequence and answers once, after its last valid step.

    Sequences are strings, lists of tokens, lists of arrays (time_i, D), or arrays (n, time, D) or (n, time). Lengths
    may differ. Two classes have one logit, more have a softmax; the loss is the cross-entropy.

    Parameters
    ----------
    cell : {"lstm", "rnn"}
        The recurrent cell.
    hidden_size : int
        H, the size of the state, of each direction.
    num_layers : int
        Stacked layers.
    bidirectional : bool
        Read each sequence in both directions; the head then sees the final state of each.
    dropout : float
        Fraction set to zero in training, between two layers and before the head.
    token_dropout : float
        Fraction of the tokens that training replaces by the unknown one, so that no answer hangs on a single token. Of
        no effect on numeric sequences.
    embedding_size : int or None
        Size of a learned embedding of tokens; None feeds them one-hot. Of no effect on numeric sequences.
    encoding : {"auto", "tokens"}
        "auto": numbers are series. "tokens": integers are tokens.
    fold_case : bool
        Whether upper and lower case of tokens are one.
    standardize : bool
        Whether numeric features are brought to mean 0 and standard deviation 1, as measured on the training part.
    init : {"orthogonal", "pytorch"}
        The start of the weights: see `LSTM`.
    solver : {"adam", "adamw", "sgd"}
        See `xlstm.optim.Optimizer`, also for `alpha` (penalty on squared weights), `momentum`, `beta_1`, `beta_2` and
        `epsilon`.
    learning_rate_init : float
        The highest learning rate.
    learning_rate : {"constant", "cosine"}
        How it goes on.
    warmup : int
        Number of updates over which the learning rate rises linearly to it.
    batch_size : int or "auto"
        "auto" is a 128th of the rows, from 32 to 256.
    max_iter : int or None
        Epochs. None stands for a budget of updates: as many epochs as make 1000 of them, from 20 to 400.
    max_grad_norm : float or None
        The norm of all gradients together is clipped to it; None never clips.
    class_weight : dict, "balanced" or None
        A weight for each class; "balanced" makes them inverse to their frequency.
    early_stopping : bool
        Set `validation_fraction` of the rows aside, in the proportion of their classes; stop when accuracy there has
        not risen by `tol` for `n_iter_no_change` epochs, and return to the best weights.
    warm_start : bool
        Whether `fit` goes on from the weights of the last one. Only settings of the training may change in between.
    dtype : {"float32", "float64"}
        Of all computation.
    device : str or None
        "auto", "cpu", "cuda", "cuda:N". None is the environment variable XLSTM_DEVICE, else "auto".
    kernels : {"auto", "reference", "compiled"}
        Which implementation of the layers; "compiled" is an error where there is none.
    random_state : int, generator or None
        Where the weights, the order of the rows and the dropout masks are drawn from.
    verbose : bool
        Whether to write a line an epoch to stderr.

    Attributes
    ----------
    classes_ : (K,)
        The labels, sorted.
    n_iter_ : int
        Epochs run by the last `fit`, and since then by `partial_fit`.
    loss_ : float
        The last of `loss_curve_`.
    loss_curve_, accuracy_curve_ : list of float
        Of each epoch, on the training part, in training mode.
    validation_loss_curve_, validation_scores_ : list of float
        With early stopping: loss and accuracy of each epoch on the validation part.
    best_validation_score_ : float
        With early stopping: the highest accuracy there.
    n_features_in_ : int
        Columns of a two-dimensional X, else the features of a step; for tokens the size of the vocabulary.
    device_, kernels_ : str
        What did the work.

    Examples
    --------
    >>> import xlstm
    >>> X, y = ["aab", "ba", "abab", "bbba", "b", "aa"], ["b", "a", "b", "a", "b", "a"]  # the last letter
    >>> clf = xlstm.SequenceClassifier(hidden_size=8, max_iter=100, learning_rate_init=0.02, random_state=0)
    >>> clf.fit(X, y).predict(["aaaaab", "ba"]).tolist()
    ['b', 'a']
    """

    _estimator_type = "classifier"

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
        class_weight: Any = None,
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
        self.class_weight = class_weight
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

    # ------------------------------------------------------------ scikit-learn's manners

    @classmethod
    def _parameter_names(cls) -> list[str]:
        return [name for name in inspect.signature(cls).parameters]

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The constructor's parameters and their values. `deep` is of no effect: none of them is an estimator."""
        return {name: getattr(self, name) for name in self._parameter_names()}

    def set_params(self, **values: Any) -> SequenceClassifier:
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
        from sklearn.utils import ClassifierTags, InputTags, Tags, TargetTags

        return Tags(
            estimator_type="classifier",
            target_tags=TargetTags(required=True),
            transformer_tags=None,
            regressor_tags=None,
            classifier_tags=ClassifierTags(),
            input_tags=InputTags(two_d_array=True, three_d_array=True, string=True),
        )

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "_fitted")

    # ------------------------------------------------------------ fit

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> SequenceClassifier:
        """Train on sequences X and their labels y.

        Parameters
        ----------
        X
            See the class.
        y
            (n,) labels: strings or numbers.
        sample_weight
            (n,) weights of 0 or more, or None for 1.

        Raises
        ------
        ValueError
            If a sequence is empty, holds NaN or has other features than the rest (the row is named); if there are not
            as many labels; if there is but one class; if a parameter is out of range.
        TypeError
            If X is of a type that cannot be read.
        FloatingPointError
            If training diverges.

        None of these changes the classifier.
        """
        return self._fit(X, y, sample_weight, None)

    def _fit(self, X: Any, y: Any, sample_weight: Any, progress: Progress | None) -> SequenceClassifier:
        """`fit`, telling `progress` of each epoch."""
        self._check_parameters()
        data = sequences.read(X, self.encoding)
        classes, labels = classes_of(y, len(data.lengths))
        weights = row_weights(sample_weight, self.class_weight, classes, labels)
        if len(classes) < 2:
            raise ValueError(
                f"y holds a single class, {classes.tolist()[0]!r}: a classifier needs two or more (1 class given)."
            )
        if self.warm_start and hasattr(self, "_fitted"):
            fitted = copy.deepcopy(self._fitted)
            labels = known(y, fitted.classes)
            fitted.check(data, X)
            self._check_same_model(fitted)
        else:
            fitted = None
        rng = own_generator(self.random_state) if fitted is None else fitted.trainer.rng
        kept, aside = np.arange(len(labels)), None
        if self.early_stopping:
            kept, aside = batch.stratified_split(labels, self.validation_fraction, rng)
        if fitted is None:
            encoder = encode.fit(sequences.take(data, kept), bool(self.fold_case), bool(self.standardize))
            fitted = self._build(encoder, classes, data, X, len(kept), rng)
        encoded = fitted.encoded(data)
        training = train.Rows(encoded.rows(kept), labels[kept], mean_one(weights[kept]))
        validation = None
        if aside is not None:
            # A validation part that chance gave no weight is measured as if it had no weights.
            aside_weights = weights[aside] if weights[aside].any() else np.ones(len(aside))
            validation = train.Rows(encoded.rows(aside), labels[aside], mean_one(aside_weights))
        fitted.trainer.history = train.History()
        self._train(fitted, training, validation, self._epochs(len(kept)), progress)
        self._take_over(fitted)
        return self

    def partial_fit(self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None) -> SequenceClassifier:
        """One more epoch, on these rows alone, with the optimiser where it was.

        A warm-up goes on over the calls; after it the learning rate is constant, for nobody knows how many calls there
        will be.

        Parameters
        ----------
        X, y, sample_weight
            As for `fit`.
        classes
            All labels that will ever come: needed in the first call, where y does not hold them all.

        Raises
        ------
        ValueError
            As `fit`; and if a label is not one of the classes: the row is named.
        """
        self._check_parameters()
        data = sequences.read(X, self.encoding)
        if hasattr(self, "_fitted"):
            fitted = copy.deepcopy(self._fitted)
            if classes is not None and not np.array_equal(np.unique(np.asarray(classes)), fitted.classes):
                raise ValueError(f"classes {classes!r} are not those of the first call: {fitted.classes.tolist()}.")
            labels = known(y, fitted.classes, len(data.lengths))
            fitted.check(data, X)
            self._check_same_model(fitted)
        else:
            found, _ = classes_of(y if classes is None else classes)
            if len(found) < 2:
                raise ValueError(f"a single class, {found.tolist()[0]!r}: pass all labels that will come as classes=.")
            labels = known(y, found, len(data.lengths))
            encoder = encode.fit(data, bool(self.fold_case), bool(self.standardize))
            fitted = self._build(encoder, found, data, X, len(labels), own_generator(self.random_state))
        weights = row_weights(sample_weight, self.class_weight, fitted.classes, labels)
        training = train.Rows(fitted.encoded(data), labels, mean_one(weights))
        self._train(fitted, training, None, 1, continued=True)
        self._take_over(fitted)
        return self

    def _check_parameters(self) -> None:
        """Everything that `Model`, `Optimizer` and the schedules do not check themselves."""
        choices = (
            ("cell", tuple(layers.LAYERS)),
            ("solver", optim.SOLVERS),
            ("learning_rate", optim.SCHEDULES),
            ("encoding", sequences.ENCODINGS),
        )
        for name, allowed in choices:
            if getattr(self, name) not in allowed:
                hint = " The number is learning_rate_init." if name == "learning_rate" else ""
                raise ValueError(f"{name} must be one of {allowed}, got {getattr(self, name)!r}.{hint}")
        for name in ("bidirectional", "fold_case", "standardize", "early_stopping", "warm_start"):
            if not isinstance(getattr(self, name), (bool, np.bool_)):
                raise ValueError(f"{name} must be True or False, got {getattr(self, name)!r}.")
        for name, low, optional in (
            ("hidden_size", 1, False),
            ("num_layers", 1, False),
            ("max_iter", 1, True),
            ("embedding_size", 1, True),
            ("n_iter_no_change", 1, False),
            ("warmup", 0, False),
        ):
            value = getattr(self, name)
            if value is None and optional:
                continue
            if isinstance(value, bool) or not hasattr(value, "__index__") or not low <= operator.index(value) < 2**31:
                none = "None or " if optional else ""
                raise ValueError(f"{name} must be {none}an integer of {low} or more, got {value!r}.")
        if self.batch_size != "auto":
            size: Any = self.batch_size
            if isinstance(size, (str, bool)) or not hasattr(size, "__index__") or operator.index(size) < 1:
                raise ValueError(f"batch_size must be 'auto' or an integer of 1 or more, got {size!r}.")
        ranges = {
            "learning_rate_init": (0, np.inf, "()"),
            "alpha": (0, np.inf, "[)"),
            "momentum": (0, 1, "[)"),
            "beta_1": (0, 1, "[)"),
            "beta_2": (0, 1, "[)"),
            "epsilon": (0, np.inf, "()"),
            "validation_fraction": (0, 1, "()"),
            "dropout": (0, 1, "[)"),
            "token_dropout": (0, 1, "[)"),
            "tol": (0, np.inf, "[)"),
        }
        for name, (low_value, high, ends) in ranges.items():
            value = getattr(self, name)
            inside = isinstance(value, (int, float, np.integer, np.floating)) and (
                low_value <= value if ends[0] == "[" else low_value < value
            )
            if not inside or not value < high:
                raise ValueError(f"{name} must be a number in {ends[0]}{low_value}, {high}{ends[1]}, got {value!r}.")
        limit = self.max_grad_norm
        if limit is not None and not (isinstance(limit, (int, float, np.number)) and limit > 0):
            raise ValueError(f"max_grad_norm must be None or a number above 0, got {self.max_grad_norm!r}.")

    def _batch_size(self, n: int) -> int:
        if self.batch_size == "auto":
            return min(n, max(32, min(256, n // 128)))
        return min(n, int(self.batch_size))

    def _epochs(self, n: int) -> int:
        if self.max_iter is not None:
            return operator.index(self.max_iter)
        per_epoch = -(-n // self._batch_size(n))
        return max(MIN_EPOCHS, min(MAX_EPOCHS, -(-UPDATE_BUDGET // per_epoch)))

    def _architecture(self, encoder: encode.Encoder, classes: int) -> Architecture:
        tokens = isinstance(encoder, encode.TokenEncoder)
        return Architecture(
            cell=self.cell,
            input_size=encoder.size,
            tokens=tokens,
            embedding_size=operator.index(self.embedding_size) if tokens and self.embedding_size else None,
            hidden_size=operator.index(self.hidden_size),
            num_layers=operator.index(self.num_layers),
            bidirectional=bool(self.bidirectional),
            dropout=float(self.dropout),
            outputs=1 if classes == 2 else classes,
            dtype=layers._dtype_name(self.dtype),
            init=self.init,
        )

    def _check_same_model(self, fitted: Fitted) -> None:
        """Raise where the settings ask for another model than the one to go on from."""
        old, new = fitted.model.architecture, self._architecture(fitted.encoder, len(fitted.classes))
        for name in ("cell", "embedding_size", "hidden_size", "num_layers", "bidirectional", "dropout", "dtype"):
            if getattr(old, name) != getattr(new, name):
                raise ValueError(
                    f"{name} is {getattr(new, name)!r}, but the model to go on from has {getattr(old, name)!r}: "
                    "set it back, or train a new one with fit and warm_start=False."
                )

    def _build(
        self, encoder: encode.Encoder, classes: HostArray, data: Any, X: Any, n: int, rng: np.random.Generator
    ) -> Fitted:
        """A new model for such data."""
        architecture = self._architecture(encoder, len(classes))
        backend = backends.select(self.device, "auto", flops_per_step(architecture, self._batch_size(n)))
        model = Model(architecture, backend, self.kernels, rng)
        width = data.columns if isinstance(data, sequences.Series) else None
        return Fitted(train.Trainer(model, self._optimizer(model), rng), encoder, classes, width, columns.names_of(X))

    def _optimizer_numbers(self) -> dict[str, float]:
        """As Python's numbers: NumPy's float64 would make float64 of all that it touches."""
        return {name: float(getattr(self, name)) for name in ("alpha", "momentum", "beta_1", "beta_2", "epsilon")}

    def _optimizer(self, model: Model) -> optim.Optimizer:
        return train.optimizer_for(model, self.solver, **self._optimizer_numbers())

    def _follow_settings(self, fitted: Fitted) -> None:
        """The optimiser goes by the settings of today, which may be others than when it was made."""
        optimizer = fitted.trainer.optimizer
        if optimizer.solver != self.solver:
            fitted.trainer.optimizer = self._optimizer(fitted.model)
            return
        for name, value in self._optimizer_numbers().items():
            setattr(optimizer, name, value)

    def _train(
        self,
        fitted: Fitted,
        training: train.Rows,
        validation: train.Rows | None,
        epochs: int,
        progress: Progress | None = None,
        continued: bool = False,
    ) -> None:
        self._follow_settings(fitted)
        dtype = fitted.model.architecture.dtype
        training = train.Rows(training.data, training.labels, training.weights.astype(dtype))
        if validation is not None:
            validation = train.Rows(validation.data, validation.labels, validation.weights.astype(dtype))
        settings = train.Settings(
            epochs=epochs,
            batch_size=self._batch_size(len(training.labels)),
            learning_rate=float(self.learning_rate_init),
            schedule="constant" if continued else self.learning_rate,
            warmup=operator.index(self.warmup),
            max_grad_norm=None if self.max_grad_norm is None else float(self.max_grad_norm),
            token_dropout=float(self.token_dropout),
            patience=self.n_iter_no_change if self.early_stopping else None,
            tol=float(self.tol),
            continued=continued,
        )
        if progress is None and self.verbose:
            progress = print_progress
        fitted.trainer.fit(training, validation, settings, progress)

    def _take_over(self, fitted: Fitted) -> None:
        """Make this the classifier's state, all of it at once."""
        self._fitted = fitted
        history, model = fitted.trainer.history, fitted.model
        self.classes_ = fitted.classes
        self.n_iter_ = len(history.loss)
        self.loss_curve_, self.accuracy_curve_ = list(history.loss), list(history.accuracy)
        self.loss_ = history.loss[-1] if history.loss else float("nan")
        self.n_features_in_ = fitted.columns if fitted.columns is not None else fitted.encoder.size
        self.device_, self.kernels_ = model.backend.device, model.recurrent.kernels
        for name in ("validation_loss_curve_", "validation_scores_", "best_validation_score_", "feature_names_in_"):
            if hasattr(self, name):
                delattr(self, name)
        if history.validation_loss:
            self.validation_loss_curve_ = list(history.validation_loss)
            self.validation_scores_ = list(history.validation_accuracy)
            self.best_validation_score_ = max(history.validation_accuracy)
        if fitted.feature_names is not None:
            self.feature_names_in_ = fitted.feature_names

    # ------------------------------------------------------------ predict

    def _state(self) -> Fitted:
        if not hasattr(self, "_fitted"):
            message = (
                f"This {type(self).__name__} instance is not fitted yet. Call 'fit' with appropriate arguments first."
            )
            if "sklearn" in sys.modules:
                from sklearn.exceptions import NotFittedError

                raise NotFittedError(message)
            raise ValueError(message)
        return self._fitted

    def _logits(self, X: Any) -> HostArray:
        """(n, K) on the host, float64 or float32 as computed."""
        return self._state().logits(X, self.encoding)

    def decision_function(self, X: Any) -> HostArray:
        """Logits: (n, K), or for two classes (n,), above 0 where the second class is more probable."""
        logits = self._logits(X)
        return logits[:, 0] if logits.shape[1] == 1 else logits

    def predict_proba(self, X: Any) -> HostArray:
        """The probability of each class, (n, K), in the order of `classes_`."""
        p: HostArray = losses.probabilities(self._logits(X))
        return p

    def predict(self, X: Any) -> HostArray:
        """The most probable class of each sequence, (n,)."""
        logits = self._logits(X)
        numbers = (logits[:, 0] > 0).astype(int) if logits.shape[1] == 1 else logits.argmax(axis=1)
        predicted: HostArray = self.classes_[numbers]
        return predicted

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Accuracy on X with labels y, weighted by `sample_weight`.

        Raises
        ------
        ValueError
            If a label is not one of `classes_`: the row is named.
        """
        predicted = self.predict(X)
        truth = self.classes_[known(y, self.classes_, len(predicted))]
        weights = row_weights(sample_weight, None, self.classes_, np.zeros(len(truth), np.int64))
        return float(np.average(predicted == truth, weights=weights))

    # ------------------------------------------------------------ elsewhere

    def to(self, device: str | None) -> SequenceClassifier:
        """A copy of the fitted classifier on another device, its optimiser included; the original stays.

        Raises
        ------
        RuntimeError
            If that device cannot be used; the message says what is missing.
        """
        fitted = self._state()
        backend = backends.select(device, "auto", flops_per_step(fitted.model.architecture, layers.TYPICAL_ROWS))
        other = copy.copy(self)
        other.device = backend.device
        other._take_over(fitted.to(backend))
        return other

    def stream(self) -> Stream:
        """Feed one sequence in parts and read the probabilities after each: see `Stream`.

        Raises
        ------
        ValueError
            If the model is bidirectional: its second direction begins at the end.
        """
        return Stream(self._state(), self.encoding)

    def prepare(self) -> Prepared:
        """A frozen copy for inference, its parameters packed once: `probabilities = call(X)`; see `Prepared`."""
        return Prepared(self._state(), self.encoding)

    def save(self, path: Any) -> None:
        """Write the classifier to one file, whole or not at all: `xlstm.load` reads it.

        Parameters
        ----------
        path
            The file; an older one of the name is replaced.

        Raises
        ------
        OSError
            If it cannot be written. The older file is then untouched.
        """
        from . import checkpoint

        checkpoint.save(self, path)


def print_progress(epoch: int, epochs: int, history: train.History) -> None:
    """One line to stderr."""
    line = f"epoch {epoch}/{epochs}: loss {history.loss[-1]:.4f}, accuracy {history.accuracy[-1]:.4f}"
    if history.validation_loss:
        line += f", validation loss {history.validation_loss[-1]:.4f}, accuracy {history.validation_accuracy[-1]:.4f}"
    print(line, file=sys.stderr, flush=True)


def flops_per_step(architecture: Architecture, rows: int) -> float:
    """Floating-point operations of one time step of `rows` sequences, forward: what `"auto"` decides by."""
    a = architecture
    return layers.flops_per_step(
        a.cell, a.embedding_size or a.input_size, a.hidden_size, a.num_layers, 2 if a.bidirectional else 1, rows
    )
