"""The command `evaluate`: a model measured on sequences whose labels are known."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ..lines import STANDARD_INPUT
from ..tables import counted
from . import given, kinds, labelled, results
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


HELD_OUT = {
    True: "These are the sequences that were held out when the model was trained.",
    False: "These are not the sequences that were held out when the model was trained: it may have learned of some.",
    None: "",
}


def are_held_out(options: Any, model: Any) -> bool | None:
    """Whether these are the sequences that were held out when the model was trained; None where that is not known."""
    table = model.fitted_state().table
    source = options.only or options.data
    # Without scores nothing was held out: the digest is then that of an older model's rows.
    if table is None or table.scores is None or source == STANDARD_INPUT or not os.path.isfile(source):
        return None
    return bool(results.digest_of(Path(source).read_bytes()) == table.held_out)


def run(options: Any) -> int:
    """Read, predict, compare."""
    model = trained(options.model, options.device)
    kind = kinds.of_model(model)
    found = labelled_data(options, model, kind)
    try:
        scores = kind.scores(model, found.X, found.y)
    except (ValueError, TypeError) as error:
        raise Failure(f"{found.name}: {error}") from None
    also_learned = HELD_OUT[False] if are_held_out(options, model) is False else ""
    text = (
        f"{kind.told(scores)}, on {counted(found.size, found.what)}\n"
        + (f"{also_learned}\n" if also_learned else "")
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
