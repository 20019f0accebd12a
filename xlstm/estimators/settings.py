"""The settings of all sequence estimators, in scikit-learn's manner: what they are, and what each may be.

Each is one line here, with its type and its default; a dataclass makes the constructor of them. An estimator that has
more, or another default, is a dataclass too (`classifier.py`), or has a constructor of its own, which calls this one.
"""

from __future__ import annotations

import functools
import inspect
import math
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

import numpy as np

from .. import backends, cells, optim, sequences
from ..checks import INITS, MOST_LAYERS
from ..messages import told
from ..readout import READOUTS
from ..spelling import FORMS
from . import display
from .constraints import Constraint, Device, Flag, FloatType, Integer, Number, OneOf, Seed

Self = TypeVar("Self", bound="Configured")

OPTIMIZER_SETTINGS = ("alpha", "momentum", "beta_1", "beta_2", "epsilon")
OF_THE_MACHINE = ("device",)
"""Settings that stay behind where a file goes elsewhere."""


@dataclass(eq=False, repr=False)
class Configured:
    """What has these settings. `SequenceClassifier` says what each of them does.

    Attributes
    ----------
    constraints : dict of str to Constraint
        What each setting may be. The settings that are not in it are checked where they are used.
    settings_before : dict of str to value
        Of each setting that came after the first version, what a file without it stands for.
    """

    settings_before: ClassVar[dict[str, Any]] = {
        "readout": "final",
        "split": "characters",
        "precision": "highest",
        "missing": "error",
        "normalize": None,
    }

    constraints: ClassVar[dict[str, Constraint]] = {
        "cell": OneOf(cells.CELLS),
        "hidden_size": Integer(1),
        "num_layers": Integer(1, below=MOST_LAYERS + 1),
        "bidirectional": Flag(),
        "dropout": Number(0, 1, "[)"),
        "token_dropout": Number(0, 1, "[)"),
        "embedding_size": Integer(1, besides=(None,)),
        "encoding": OneOf(sequences.ENCODINGS),
        "fold_case": Flag(),
        "standardize": Flag(),
        "init": OneOf(INITS),
        "solver": OneOf(optim.SOLVERS),
        "alpha": Number(0, np.inf, "[)"),
        "learning_rate_init": Number(0, np.inf, "()"),
        "learning_rate": OneOf(optim.SCHEDULES, hint=" The number is learning_rate_init."),
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
        "device": Device(),
        "kernels": OneOf(backends.KERNELS),
        "precision": OneOf(backends.PRECISIONS),
        "verbose": Flag(levels=True),
        "random_state": Seed(),
        "split": OneOf(sequences.SPLITS),
        "missing": OneOf(sequences.MISSING),
        "normalize": OneOf(FORMS, besides=(None,)),
        "readout": OneOf([name for name, readout in READOUTS.items() if not readout.each_step]),
    }

    cell: str = "lstm"
    hidden_size: int = 64
    num_layers: int = 1
    bidirectional: bool = False
    dropout: float = 0.0
    token_dropout: float = 0.0
    embedding_size: int | None = None
    encoding: str = "auto"
    fold_case: bool = True
    standardize: bool = True
    init: str = "orthogonal"
    solver: str = "adam"
    alpha: float = 0.0
    learning_rate_init: float = 0.005
    learning_rate: str = "cosine"
    warmup: int = 0
    momentum: float = 0.9
    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-8
    batch_size: int | str = "auto"
    max_iter: int | None = None
    max_grad_norm: float | None = 1.0
    early_stopping: bool = False
    validation_fraction: float = 0.1
    n_iter_no_change: int = 10
    tol: float = 1e-4
    warm_start: bool = False
    dtype: str = "float32"
    device: str | None = None
    kernels: str = "auto"
    random_state: Any = None
    verbose: bool | int = False
    readout: str = "final+max"
    split: str = "characters"
    precision: str = "highest"
    missing: str = "error"
    normalize: str | None = "NFC"

    @classmethod
    def _parameter_names(cls) -> list[str]:
        constructor: type = cls  # as such it is hashable, which the checker doubts of a dataclass's
        return list(_names_of(constructor))

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
        return display.as_text(self)

    def _repr_html_(self) -> str | None:
        return display.as_html(self)

    def check_parameters(self) -> None:
        """Raise where a setting is out of its range, or is nothing that a file could keep.

        What fits the data alone, such as labels that have weights, is checked where it is used.

        Raises
        ------
        ValueError
            With the name of the setting, what was expected and what was given.
        """
        for name, constraint in self.constraints.items():
            constraint.check(name, getattr(self, name))
        for name in self.kept_names():
            if name not in self.constraints or not isinstance(getattr(self, name), dict):  # which may be large
                in_json(name, self.plain_setting(name))

    def plain_settings(self) -> dict[str, Any]:
        """All settings but the device, which were checked, as JSON has them: what a file keeps."""
        return {name: in_json(name, self.plain_setting(name)) for name in self.kept_names()}

    def kept_names(self) -> list[str]:
        """The names of the settings that a file keeps."""
        return [name for name in self.get_params() if name not in OF_THE_MACHINE]

    def optimizer_numbers(self) -> dict[str, float]:
        """The settings that the optimiser goes by, apart from the learning rate."""
        return {name: self.plain_setting(name) for name in OPTIMIZER_SETTINGS}

    def plain_setting(self, name: str) -> Any:
        """A setting that was checked, as Python's own value where a constraint says what it is."""
        value = getattr(self, name)
        return self.constraints[name].plain(value) if name in self.constraints else value


@functools.cache
def _names_of(estimator: type) -> tuple[str, ...]:
    """The names of the constructor's parameters: read once, for a signature takes longer than what is done with it."""
    return tuple(inspect.signature(estimator).parameters)


_MOST_BITS = 10_000
"""Of an integer that Python writes in decimals."""


def in_json(name: str, value: Any) -> Any:
    """A setting as JSON has it: lists for arrays and tuples, pairs for a dict, whose keys may be numbers.

    Raises
    ------
    ValueError
        If no file could keep it, and give it back.
    """
    if name == "max_grad_norm" and value == math.inf:
        return None  # which never clips either, and is known to JSON
    if isinstance(value, (np.generic, np.ndarray)):
        value = value.tolist()
    if isinstance(value, dict):
        value = list(value.items())
    if isinstance(value, (list, tuple)):
        return [in_json(name, each) for each in value]
    if isinstance(value, np.longdouble):
        value = float(value)
    if value is None or isinstance(value, (str, bool)):
        return value
    if isinstance(value, int) and value.bit_length() <= _MOST_BITS:
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    raise ValueError(
        f"{name} is {told(value)}, which no file could keep: expected None, text, a finite number, or lists of such."
    )
