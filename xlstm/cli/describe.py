"""The command `show`: what a model reads, what it answers, what it is made of, how it was trained."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Sequence
from typing import Any

from ..encode import TokenEncoder
from ..estimators import display
from ..estimators.base import SequenceEstimator
from ..estimators.state import load
from ..fitted import Fitted
from ..tables import counted
from .common import show

SHOWN = 20
"""So many tokens, features and classes are listed for people, and tokens in JSON; the rest is counted."""


def run(options: Any) -> int:
    """Load, describe."""
    model = load(options.model, options.device)
    values: dict[str, Any] = {
        "model": options.model,
        "bytes": os.path.getsize(options.model),
        "kind": type(model).__name__,
    }
    values |= _estimator(model) if isinstance(model, SequenceEstimator) else _layer(model)
    return show(options, "\n".join(f"{name:<9} {line}" for name, line in _lines(values)), values)


# ---------------------------------------------------------------- what there is to say


def _layer(layer: Any) -> dict[str, Any]:
    return {
        "network": {**layer.settings(), "parameters": layer.sizes.parameter_count()},
        "device": layer.device,
        "kernels": layer.kernels,
    }


def _estimator(model: SequenceEstimator) -> dict[str, Any]:
    fitted = model.fitted_state()
    parts, table = fitted.model.architecture, fitted.table
    history = fitted.trainer.history
    validation = getattr(model, "best_validation_score_", None)
    trained = {
        "epochs": model.n_iter_,
        "sequences": table and table.rows,
        "device": table and table.device,
        "loss": _number(model.loss_),
        "scores": {name: _number(values[-1]) for name, values in history.scores.items() if values},
        "best_validation_score": validation if validation is None else _number(validation),
    }
    return {
        "task": fitted.task.kind,
        "answers": _answers(model, fitted),
        "reads": _reads(fitted),
        "table": None if table is None else _columns(table._asdict()),
        "network": {
            **{name: value for name, value in parts._asdict().items() if name not in ("init", "tokens")},
            "parameters": parts.parameter_count(),
        },
        "settings": {name: _plain(getattr(model, name)) for name in display.changed(model)},
        "trained": trained,
        "held_out": table and table.scores,
        "device": model.device_,
        "kernels": model.kernels_,
    }


def _answers(model: Any, fitted: Fitted) -> dict[str, Any]:
    if hasattr(model, "classes_"):
        return {"classes": [str(label) for label in model.classes_.tolist()]}
    return {"numbers": fitted.task.outputs}


def _reads(fitted: Fitted) -> dict[str, Any]:
    encoder, names = fitted.encoder, fitted.feature_names
    if isinstance(encoder, TokenEncoder):
        return {
            "tokens": encoder.kind,
            "fold_case": encoder.fold_case,
            "normalize": encoder.normalize,
            "vocabulary_size": len(encoder.vocabulary),
            "vocabulary": encoder.vocabulary[:SHOWN],
        }
    named = None if names is None else [str(name) for name in names.tolist()]
    return {"features": named, "n_features": encoder.size, "steps": fitted.columns}


def _columns(table: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in table.items() if name not in ("held_out", "rows", "scores", "device")}


def _plain(value: Any) -> Any:
    """As JSON has it, else as Python writes it."""
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):
        return repr(value)
    return value


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


# ---------------------------------------------------------------- for people


def _lines(values: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """What each line is of, and what it says."""
    yield "model", f"{values['model']}: {values['kind']}, {counted(values['bytes'], 'byte')}"
    if "task" in values:
        yield "answers", _told_answers(values["task"], values["answers"])
        yield "reads", _told_reads(values["reads"])
        if values["table"] is not None:
            yield "table", _told_table(values["table"], "tokens" in values["reads"])
    network = dict(values["network"])
    count = network.pop("parameters")
    yield "network", f"{counted(count, 'parameter')}: {_named(network)}"
    if "task" in values:
        changed = ", ".join(f"{name}={value!r}" for name, value in values["settings"].items())
        yield "settings", changed or "all as they are by default"
        yield "trained", _told_training(values["trained"])
        if values["held_out"] is not None:
            yield "held out", _scores(values["held_out"])
    yield "here", f"device {values['device']}, kernels {values['kernels']}"


def _named(values: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())


def _told_answers(task: str, answers: dict[str, Any]) -> str:
    if "numbers" in answers:
        return counted(answers["numbers"], "number")
    classes = answers["classes"]
    how = {"step_classes": "at each step one of", "several_labels": "any of"}.get(task, "one of")
    return f"{how} {len(classes)} {'labels' if task == 'several_labels' else 'classes'}: {_some(classes)}"


def _told_reads(reads: dict[str, Any]) -> str:
    if "tokens" in reads:
        case = "upper and lower case are one" if reads["fold_case"] else "upper and lower case are told apart"
        kind = {"characters": "texts, by characters", "words": "texts, by words"}.get(reads["tokens"], "whole numbers")
        case += f", in the form {reads['normalize']}" if reads["normalize"] is not None else ""
        about = kind if reads["tokens"] == "integers" else f"{kind}, {case}"
        return f"{about}; {reads['vocabulary_size']} known: {_some(reads['vocabulary'], reads['vocabulary_size'])}"
    if reads["steps"] is not None:
        return f"series of {counted(reads['steps'], 'step')} of one feature"
    if reads["features"] is None:
        return f"series of {counted(reads['n_features'], 'feature')} without names"
    return f"series of {counted(reads['n_features'], 'feature')}, in this order: {_some(reads['features'])}"


def _told_table(table: dict[str, Any], texts: bool) -> str:
    rows = {"text": "a row is a text", "long": "a row is a step", "wide": "a row is a series", "file": "no table"}
    used = {name: value for name, value in table.items() if name != "form" and value not in (None, False)}
    if not texts:
        used.pop("text")
    told = [f"{name} {_some(value) if isinstance(value, list) else repr(value)}" for name, value in used.items()]
    return f"{rows[table['form']]}; {', '.join(told)}"


def _told_training(trained: dict[str, Any]) -> str:
    told = counted(trained["epochs"], "epoch")
    if trained["sequences"] is not None:
        told += f" on {counted(trained['sequences'], 'sequence')}"
    if trained["device"] is not None:
        told += f" on {trained['device']}"
    last = {"loss": trained["loss"], **trained["scores"]}
    if trained["best_validation_score"] is not None:
        last["best_validation_score"] = trained["best_validation_score"]
    return f"{told}; {_scores({name: value for name, value in last.items() if value is not None})}"


def _scores(scores: dict[str, Any]) -> str:
    return ", ".join(
        f"{name} {value:.4f}" if isinstance(value, float) else f"{name} {value}" for name, value in scores.items()
    )


def _some(names: Sequence[Any], count: int | None = None) -> str:
    more = (len(names) if count is None else count) - SHOWN
    return ", ".join(str(name) if str(name).isprintable() else repr(name) for name in names[:SHOWN]) + (
        f" and {more} more" if more > 0 else ""
    )
