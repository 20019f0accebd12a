"""What a file keeps of a fitted estimator, and the estimator of such a state: the header of `checkpoint`, part by part.

`load` is also the one place that asks a file what it holds: a layer is the matter of `layerfile`.
A state may hold anything: sizes are compared before anything of that size is made, and what does not fit together is a
ValueError.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .. import backends, checkpoint, encode, layerfile, layers, optim, train
from ..checkpoint import named, number_of_json, number_to_json, same_names, understanding
from ..fitted import Fitted, Table
from ..history import History
from ..host import HostArray
from ..messages import told
from ..model import Architecture, Model
from ..registry import ESTIMATORS, TASKS, Registry
from ..sides import Sides
from ..tasks import Task
from . import kept_table
from .going_on import start_of_state
from .run import Run
from .settings import OF_THE_MACHINE

SequenceEstimator = Any
"""`xlstm.estimators.base.SequenceEstimator`, which imports this file."""

PARTS = ("kind", "settings", "architecture", "encoder", "task", "columns", "feature_names", "history", "updates",
         "solver", "generator", "table",
         "sides", "answers_there", "precision", "run", "start")  # fmt: skip
MOST = 2**53
"""Counts are below it, so that nobody runs into the end of 64 bits by going on."""
HISTORY = ("loss", "scores", "validation_loss", "validation_scores")
PARTS_BEFORE: dict[str, Any] = {
    "table": None, "sides": None, "answers_there": False, "precision": None, "run": None,
    "start": None,
}  # fmt: skip
"""Of each part that came after version 2, what a file without it stands for. They never change. No precision of the
model is that of the settings, and so is no start. The files of `resume` alone have a run."""


# ---------------------------------------------------------------- whole files


def save(estimator: Any, path: Any) -> None:
    """Write a fitted estimator, with what exact resumption needs: see `SequenceClassifier.save`."""
    checkpoint.write_header(path, *of(estimator))


def load(path: Any, device: str | None = None) -> Any:
    """Read an estimator or a layer that its `save` wrote, on whatever device, by this version or an older one.

    Parameters
    ----------
    path
        The file.
    device
        Where it shall live: "auto", "cpu", "cuda", "cuda:N"; None is the environment variable XLSTM_DEVICE, else
        "auto" for an estimator and "cpu" for a layer, as where they are made.

    Returns
    -------
    SequenceClassifier, LSTM, GRU or RNN
        Whatever the file holds; a layer of a registered cell of one's own is a layer without a class of its own, unless
        it is read by the `load` of that class.

    Raises
    ------
    ValueError
        If the file is damaged, truncated, of a newer version, or foreign: the message says which, and of files of
        PyTorch and others what to do with them.
    OSError
        If it cannot be read.
    RuntimeError
        If a device was asked for that cannot be used.
    """
    header, arrays = checkpoint.read_state(path)
    with checkpoint.understood(path):
        if header.get("kind") == layerfile.KIND:
            return layers.restored(header, arrays, device)
        return restored(header, arrays, device)


def table_of(path: Any) -> Table | None:
    """What a file remembers of the table that its model was trained on; None where that is nothing, or it is no model.

    No model is built, and no device asked for.
    """
    try:
        header = checkpoint.read_file(path).header
        with understanding():
            return kept_table.of_json(header.get("table"))
    except (ValueError, OSError):
        return None


# ---------------------------------------------------------------- to a file


def of(estimator: SequenceEstimator) -> tuple[dict[str, Any], list[HostArray]]:
    """Its header, without what describes the arrays, and the arrays: parameters, then moments."""
    fitted = estimator.fitted_state()
    return header_of(estimator, fitted), arrays_of(fitted)


def arrays_of(fitted: Fitted) -> list[HostArray]:
    """Parameters, then moments."""
    return [fitted.model.read(), *fitted.trainer.optimizer.host_moments()]


def moving_parts(trainer: train.Trainer) -> dict[str, Any]:
    """The parts of the header that are others after each epoch."""
    return {
        "history": {name: _history_to_json(getattr(trainer.history, name)) for name in HISTORY},
        "updates": trainer.optimizer.updates,
        "generator": dict(trainer.rng.bit_generator.state),
    }


def _history_to_json(part: Any) -> Any:
    """A list of numbers, or a dict of such."""
    if isinstance(part, dict):
        return {name: _history_to_json(numbers) for name, numbers in part.items()}
    return [number_to_json(number) for number in part]


def header_of(estimator: SequenceEstimator, fitted: Fitted) -> dict[str, Any]:
    """The header of an estimator that has learned this, or is about to."""
    estimator.check_parameters()  # what cannot be loaded is not saved
    kind = _registered(ESTIMATORS, estimator)
    _registered(TASKS, fitted.task)
    if estimator.get_params().keys() != kind().get_params().keys():
        raise ValueError(
            f"{type(estimator).__name__} has other settings than {estimator.kind}, as which it would be saved: "
            "register it under a name of its own (xlstm.registry.ESTIMATORS)."
        )
    trainer, model = fitted.trainer, fitted.model
    return {
        "kind": estimator.kind,
        "settings": estimator.plain_settings(),
        "architecture": model.architecture._asdict(),
        "encoder": fitted.encoder.state(),
        "task": {"kind": fitted.task.kind, **fitted.task.state()},
        "columns": fitted.columns,
        "feature_names": None if fitted.feature_names is None else fitted.feature_names.tolist(),
        "solver": trainer.optimizer.solver,
        **moving_parts(trainer),
        "table": None if fitted.table is None else kept_table.to_json(fitted.table),
        "sides": None if fitted.sides is None else fitted.sides.state(),
        "answers_there": fitted.answers_there,
        "precision": model.precision,
        "start": fitted.start,
    }


def _registered(registry: Registry, thing: SequenceEstimator) -> Any:
    """The class that its file will name."""
    try:
        return registry.find(thing.kind)
    except LookupError:
        name = type(thing).__name__
        raise ValueError(
            f"{name} is no registered {registry.what}, so no file can name it: register it under a name of its own "
            f"(xlstm.registry.{registry.what.upper()}S.register)."
        ) from None


# ---------------------------------------------------------------- from a file


def restored(header: dict[str, Any], arrays: list[HostArray], device: str | None = None) -> Any:
    """The estimator of such a header and arrays, on a device: the contrary of `of`.

    Raises
    ------
    xlstm.checkpoint.NotUnderstood
        If they are not what `of` gives, a ValueError: what is wrong.
    """
    with understanding():
        kind: SequenceEstimator = named(ESTIMATORS, header.get("kind"))
        same_names(header, PARTS, "part", PARTS_BEFORE)
        estimator = kind(**_settings(kind, header["settings"]))
        estimator.check_parameters()
    fitted = learned(header, arrays, estimator, lambda part: backends.select(device, "auto", part.flops_per_step()))
    estimator.device = device
    estimator.take_over(fitted)
    return estimator


def learned(
    header: dict[str, Any],
    arrays: list[HostArray],
    estimator: SequenceEstimator,
    place: Callable[[Architecture], backends.Backend],
) -> Fitted:
    """What an estimator with these settings has learned by such a header and arrays; `place` says where it is to be.

    Raises
    ------
    xlstm.checkpoint.NotUnderstood
        As `restored`.
    """
    with understanding():
        same_names(header, PARTS, "part", PARTS_BEFORE)
        header = {**PARTS_BEFORE, **header}
        architecture = _architecture(type(estimator), header["architecture"])
        # The size that it asks for is compared before anything of that size is built.
        wanted = architecture.parameter_count()
        if any(array.shape != (wanted,) or str(array.dtype) != architecture.dtype for array in arrays):
            raise ValueError(f"the arrays are {told([array.shape for array in arrays])}, expected ({wanted},) each")
    backend = place(architecture)
    with understanding():
        return _fitted(header, arrays, estimator, architecture, backend)


def settings_that_differ(estimator: SequenceEstimator, found: Any) -> dict[str, tuple[Any, Any]]:
    """Of each setting that a file has with another value than the estimator: both. `verbose` does not matter."""
    with understanding():
        _settings(type(estimator), found)
    now = estimator.plain_settings()
    before = {**estimator.settings_before, **found}
    return {name: (before[name], now[name]) for name in now if before[name] != now[name] and name != "verbose"}


def _settings(kind: SequenceEstimator, found: Any) -> dict[str, Any]:
    known = [name for name in kind().get_params() if name not in OF_THE_MACHINE]
    same_names(found, known, "setting", kind.settings_before)
    settings = {**{name: value for name, value in kind.settings_before.items() if name in known}, **found}
    weight = settings.get("class_weight")
    if isinstance(weight, list):
        settings["class_weight"] = {label: value for label, value in weight}
    return settings


def _architecture(estimator: SequenceEstimator, found: Any) -> Architecture:
    same_names(found, Architecture._fields, "part of the architecture", Architecture._field_defaults)
    architecture = Architecture(**{**Architecture._field_defaults, **found})
    expected = {"cell": str, "input_size": int, "tokens": bool, "hidden_size": int, "num_layers": int,
                "bidirectional": bool, "outputs": int, "dtype": str, "init": str}  # fmt: skip
    for name, kind in expected.items():
        if type(getattr(architecture, name)) is not kind:
            raise ValueError(f"{name} is {told(getattr(architecture, name))}")
    if type(architecture.embedding_size) not in (int, type(None)) or type(architecture.dropout) not in (int, float):
        raise ValueError(f"embedding_size is {told(architecture.embedding_size)}, dropout {told(architecture.dropout)}")
    if architecture.embedding_size is not None and not architecture.tokens:
        raise ValueError(f"embedding_size is {architecture.embedding_size}, but there are no tokens to be embedded")
    for name, default in Architecture._field_defaults.items():
        if name not in expected and type(getattr(architecture, name)) is not type(default):
            raise ValueError(f"{name} is {told(getattr(architecture, name))}")
    for name, constraint in estimator.constraints.items():
        if name in Architecture._fields:
            constraint.check(name, getattr(architecture, name))
    return architecture


def _fitted(
    header: dict[str, Any],
    arrays: list[HostArray],
    estimator: SequenceEstimator,
    architecture: Architecture,
    backend: backends.Backend,
) -> Fitted:
    encoder = encode.from_state(header["encoder"])
    task = _task(estimator, header["task"])
    tokens = isinstance(encoder, encode.TokenEncoder)
    if encoder.width != architecture.input_size or tokens != architecture.tokens:
        raise ValueError("the encoder does not fit the model")
    if architecture.outputs != task.outputs:
        raise ValueError(f"the model has {architecture.outputs} outputs, its task needs {task.outputs}")
    trainer = _trainer(header, arrays, estimator, architecture, task, backend)
    columns, named = _columns(header, encoder)
    table, sides = (
        kept_table.of_json(header["table"]),
        None if header["sides"] is None else Sides.from_state(header["sides"]),
    )
    there = header["answers_there"]
    if type(there) is not bool:
        raise ValueError(f"where its answers lie is {told(there)}, expected true or false")
    start = start_of_state(header["start"], estimator, encoder)
    return Fitted(trainer, encoder, columns, named, type(estimator).__name__, table, sides, there, start)


def _trainer(
    header: dict[str, Any],
    arrays: list[HostArray],
    estimator: SequenceEstimator,
    architecture: Architecture,
    task: Task,
    backend: backends.Backend,
) -> train.Trainer:
    """The model with its optimiser, its generator and its history."""
    history = _history(task, header["history"])
    moments, run = optim.MOMENTS[header["solver"]], Run.from_state(header["run"])
    expected = 1 + moments + (run is not None and run.keeps_reached)
    if len(arrays) != expected:
        raise ValueError(f"there are {len(arrays)} arrays for the solver {told(header['solver'])}, expected {expected}")
    squares = 2 if moments == 2 else None  # the second moments, which may overflow: such parameters then rest
    if not all((array >= 0 if k == squares else np.isfinite(array)).all() for k, array in enumerate(arrays)):
        raise ValueError("it holds numbers that no training leaves: NaN, infinity or a negative second moment")
    rng = np.random.default_rng(0)
    rng.bit_generator.state = header["generator"]
    # Compiled kernels that the other machine had may be missing here: the numbers are the same without them.
    kernels = backends.portable(estimator.kernels)
    # As the model has it: the setting may have been changed after the training.
    precision = estimator.precision if header["precision"] is None else header["precision"]
    if precision not in backends.PRECISIONS:
        raise ValueError(f"its precision is {told(precision)}, expected one of {', '.join(backends.PRECISIONS)}")
    model = Model(architecture, backend, kernels, None, precision)
    model.write(arrays[0])
    optimizer = estimator.optimizer_for(model, header["solver"])
    optimizer.resume(_count(header["updates"]), arrays[1 : 1 + moments])
    trainer = train.Trainer(model, task, optimizer, rng)
    trainer.history = history
    return trainer


def _columns(header: dict[str, Any], encoder: encode.Encoder) -> tuple[int | None, HostArray | None]:
    """The columns of a two-dimensional X, and the names of these or of the features."""
    tokens = isinstance(encoder, encode.TokenEncoder)
    names = header["feature_names"]
    if names is not None and not (isinstance(names, list) and all(type(name) is str for name in names)):
        raise ValueError("the names of the features are no strings")
    columns = None if header["columns"] is None else _count(header["columns"])
    if columns is not None and (tokens or encoder.size != 1 or columns < 1):
        raise ValueError(f"it has {columns} columns, which do not go with its encoder")
    named_parts = encoder.size if columns is None and not tokens else columns
    if names is not None and len(names) != named_parts:
        raise ValueError(f"it has {len(names)} names for {named_parts} columns or features")
    return columns, None if names is None else np.array(names, dtype=object)


def _task(estimator: SequenceEstimator, found: dict[str, Any]) -> Task:
    kind: type[Task] = named(TASKS, found["kind"])
    if not issubclass(kind, estimator.tasks):
        raise ValueError(f"a {type(estimator).__name__} does not have the task {told(found['kind'])}")
    task = kind.from_state({name: value for name, value in found.items() if name != "kind"})
    task.follow(estimator)
    return task


def _history(task: Task, found: dict[str, Any]) -> History:
    same_names(found, HISTORY, "history")
    parts: dict[str, Any] = {name: _numbers(found[name]) for name in ("loss", "validation_loss")}
    for name, of in (("scores", "loss"), ("validation_scores", "validation_loss")):
        scores = {score: _numbers(values) for score, values in found[name].items()}
        later = task.score_names[1:] if parts[of] else task.score_names
        more = [task.weighted_name] if name == "validation_scores" else []
        same_names(scores, [*task.score_names, *more], "score", dict.fromkeys([*later, *more]))
        if any(len(values) != len(parts[of]) for values in scores.values()):
            raise ValueError(f"its history has {name} of other epochs than its {of}")
        parts[name] = scores
    return History(**parts)


def _numbers(values: Any) -> list[float]:
    if not isinstance(values, list):
        raise ValueError(f"its history holds {told(values)}")
    plain = set(map(type, values)) <= {float}  # then it is taken as it is, for it may be long
    return values if plain else [number_of_json(value) for value in values]


def _count(value: Any) -> int:
    if type(value) is not int or not 0 <= value < MOST:
        raise ValueError(f"{told(value)} is no count")
    return value
