"""The command `report`: a page on a model and on sequences whose labels are known."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from .. import reports
from ..files import check_target
from ..reports import page
from ..tables import counted
from . import evaluate, kinds, labelled
from .common import Failure, check_output, is_same_file, show, trained
from .given import Given


def run(options: Any) -> int:
    """Read, answer, write the page."""
    for source in (options.model, options.data, options.only):
        if source is not None and is_same_file(options.out, source):
            raise Failure(f"the report would overwrite {source}: name another file by --out")
    check_target(options.out)
    if not options.force and not page.is_free_for_a_report(options.out):
        raise Failure(f"{options.out} is there already, and is no report: name another file by --out, or add --force")
    check_output()
    model = trained(options.model, options.device)
    kind = kinds.of_model(model)
    found = evaluate.labelled_data(options, model, kind)
    left_out = labelled.told_of(found.skipped, options).strip()
    of_training = evaluate.HELD_OUT[evaluate.are_held_out(options, model)]
    notes = [of_training, f"{left_out.capitalize()}." if left_out else ""]
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
        + (f"{of_training}\n" if of_training else "")
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
