"""The command `report`: a page on a model and on sequences whose labels are known."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from .. import reports
from ..files import check_target
from ..tables import STANDARD_INPUT, counted
from . import kinds, labelled, results
from .common import Failure, check_output, is_same_file, show, trained
from .evaluate import labelled_data
from .given import Given


def run(options: Any) -> int:
    """Read, answer, write the page."""
    for source in (options.model, options.data, options.only):
        if source is not None and is_same_file(options.out, source):
            raise Failure(f"the report would overwrite {source}: name another file by --out")
    check_target(options.out)
    check_output()
    model = trained(options.model, options.device)
    kind = kinds.of_model(model)
    found = labelled_data(options, model, kind)
    left_out = labelled.told_of(found.skipped, options).strip()
    notes = [_held_out(options, model), f"{left_out.capitalize()}." if left_out else ""]
    try:
        made = reports.report(
            model,
            found.X,
            kind.as_learned(found.y, model),
            options.out,
            names=_names(found),
            title=options.title or f"{Path(options.model).name} on {Path(found.name).name}",
            notes=[note for note in notes if note],
        )
    except (ValueError, TypeError) as error:
        raise Failure(f"{found.name}: {error}") from None
    size = os.path.getsize(options.out)
    text = (
        f"{kind.told(made.measures)}, on {counted(found.size, found.what)}\n"
        + (f"{left_out}\n" if left_out else "")
        + f"report: {options.out}, {counted(size, 'byte')}"
    )
    values = {
        "report": options.out,
        "bytes": size,
        **made.measures,
        "n_test": found.size,
        "skipped": found.skipped,
        "device": model.device_,
        "kernels": model.kernels_,
    }
    return show(options, text, values)


def _names(found: Given) -> list[str]:
    """What the sequences are called: by their ids, or as messages number them."""
    if found.ids is not None:
        return found.ids
    return [found.where(k).removesuffix(f" of {found.name}").replace(" ", "\u00a0") for k in range(found.size)]


def _held_out(options: Any, model: Any) -> str:
    """Whether these are the sequences that were held out when the model was trained, as far as that is known."""
    table = model.fitted_state().table
    source = options.only or options.data
    # Without scores nothing was held out: the digest is then that of an older model's rows.
    if table is None or table.scores is None or source == STANDARD_INPUT or not os.path.isfile(source):
        return ""
    if results.digest_of(Path(source).read_bytes()) != table.held_out:
        return ""
    return "These are the sequences that were held out when the model was trained."
