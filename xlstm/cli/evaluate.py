"""The command `evaluate`: a model measured on sequences whose labels are known."""

from __future__ import annotations

from typing import Any

from ..tables import counted
from . import given, kinds, labelled
from .common import Failure, listed, show, trained


def labelled_data(options: Any, model: Any, kind: kinds.Kind) -> given.Given:
    """What a model is to be measured on: all of it, or the sequences that `--only` lists.

    Raises
    ------
    Failure
        With all that is wrong.
    """
    found = given.for_measuring(options, model, kind)
    if options.only is not None:
        found = given.only(found, options.only, options.encoding)
    if problems := given.not_finite(found.X, found.where, model.missing):
        raise listed(list(problems.values()), "")
    return found


def run(options: Any) -> int:
    """Read, predict, compare."""
    model = trained(options.model, options.device)
    kind = kinds.of_model(model)
    found = labelled_data(options, model, kind)
    try:
        scores = kind.scores(model, found.X, found.y)
    except (ValueError, TypeError) as error:
        raise Failure(f"{found.name}: {error}") from None
    text = (
        f"{kind.told(scores)}, on {counted(found.size, found.what)}\n"
        + labelled.told_of(found.skipped, options)
        + "".join(f"  {line}\n" for line in kind.details(scores))
        + f"device: {model.device_}, kernels: {model.kernels_}"
    )
    values = {
        **scores,
        "n_test": found.size,
        "skipped": found.skipped,
        "device": model.device_,
        "kernels": model.kernels_,
    }
    return show(options, text, values)
