"""What a training that goes on has to leave as it is: the settings that made the model, not asked for again."""

from __future__ import annotations

from typing import Any

from .. import backends, encode
from ..checkpoint import same_names
from ..fitted import Fitted
from ..model import Architecture

Trainable = Any
"""`xlstm.estimators.training.Trainable`, which imports this file."""

OF_THE_DATA = ("input_size", "tokens", "outputs")
"""The parts of an architecture that follow from the data: no setting asks for them."""
OF_THE_START = ("init",)
"""The parts that matter only when the weights are first drawn: a model that goes on may have another."""
KEPT = ("kernels", "standardize")
"""The settings that a model keeps beside what they made of it, where nothing else tells which they were."""


def start_of(estimator: Trainable, encoder: encode.Encoder) -> dict[str, Any]:
    """Those of `KEPT` that matter to a model that begins with these settings, and this encoder."""
    return {name: estimator.plain_setting(name) for name in kept_of(encoder)}


def kept_of(encoder: encode.Encoder) -> list[str]:
    """The names of `KEPT` that a model with this encoder has."""
    return [name for name in KEPT if name != "standardize" or isinstance(encoder, encode.Scaler)]


def start_of_state(found: Any, estimator: Trainable, encoder: encode.Encoder) -> dict[str, Any]:
    """`start_of` of a file, which has this part of it; None, as in older files, is that of the settings.

    Raises
    ------
    ValueError
        If it is not such a part.
    """
    if found is None:
        return start_of(estimator, encoder)
    same_names(found, kept_of(encoder), "setting that made the model")
    for name, value in found.items():
        estimator.constraints[name].check(name, value)
    return dict(found)


def check_same_model(estimator: Trainable, fitted: Fitted) -> None:
    """Raise where the settings ask for another model than the one to go on from.

    Settings that were of no effect on it, such as `fold_case` on numbers, may change.

    Raises
    ------
    ValueError
        With the first setting that differs, and both values.
    """
    old, encoder = fitted.model.architecture, fitted.encoder
    now: Architecture = estimator.architecture_for(old.input_size, old.tokens, fitted.task)
    then = {
        **{name: part for name, part in old._asdict().items() if name not in (*OF_THE_DATA, *OF_THE_START)},
        "precision": fitted.model.precision,
        **fitted.start,
    }
    if isinstance(encoder, encode.Scaler):
        then["missing"] = "mask" if encoder.width > encoder.size else "error"
    elif encoder.kind != "integers":
        then |= {"fold_case": encoder.fold_case, "normalize": encoder.normalize}
    for name, before in then.items():
        asked = getattr(now, name) if name in Architecture._fields else estimator.plain_setting(name)
        if before != asked:
            raise another_model(name, asked, repr(before))
    _check_same_device(estimator.device, fitted.model.backend.device)


def _check_same_device(asked: str | None, before: str) -> None:
    """None and "auto" ask for no device: there the model stays where it is."""
    if asked in (None, "auto"):
        return
    now = backends.select(asked, "auto").device
    if now != before:
        raise ValueError(
            f"device is {asked!r}, but the model to go on from is on {before!r}: estimator.to({asked!r}) gives a copy "
            "of it there; or set it back."
        )


def another_model(name: str, now: Any, before: str) -> ValueError:
    """The error where a setting asks for another model than the one to go on from; `before` says what that has."""
    return ValueError(
        f"{name} is {now!r}, but the model to go on from has {before}: "
        "set it back, or train a new one with fit and warm_start=False."
    )
