"""What a report says beside the answers: what the model is, how it was trained, what the data are like."""

from __future__ import annotations

from collections import Counter

import numpy as np

from ..encode import UNKNOWN
from ..estimators import display
from ..host import HostArray
from ..series import Texts
from .charts import Curve, curves, histogram
from .found import Found, tokens_of
from .numbers import TOLD
from .page import Html, aside, counted, cut, grid, number, pairs, paragraph, quoted, share, table, tag

MOST_FEATURES = 30
"""Of more features the first are shown."""
MOST_TOKENS = 20
"""Of more unknown tokens the most frequent are named."""


def model(found: Found) -> list[Html]:
    """What it reads and answers, how large it is, and its settings."""
    told = display.told(found.fitted)
    named = {name: cut(value) for name, value in display.changed(found.estimator).items()}
    every = {name: cut(repr(value)) for name, value in found.estimator.get_params(deep=False).items()}
    best = found.fitted.attributes().get("best_validation_score_")
    if best is not None:
        told[f"best validation {found.task.first_score.replace('_', ' ')}"] = number(best)
    return [
        pairs([(name, cut(value)) for name, value in told.items()], type(found.estimator).__name__),
        pairs([(name, tag("code", value)) for name, value in named.items()], "Settings other than the defaults")
        if named
        else paragraph("All settings are the defaults."),
        aside(
            "All settings",
            pairs([(name, tag("code", value)) for name, value in every.items()], "All settings, as Python writes them"),
        ),
    ]


def training(found: Found) -> list[Html]:
    """Its learning curves."""
    history = found.fitted.trainer.history.columns()
    epochs = len(history["loss"])
    if not epochs:
        return [paragraph("This model was not trained here: there is no history of epochs.")]
    parts = [name for name in history if not name.startswith("validation_")]
    parts += [name for name in (name[11:] for name in history if name.startswith("validation_")) if name not in parts]
    pictures = []
    for name in parts:
        if name != "loss" and all(
            history.get(side + name) == history.get(f"{side}loss") for side in ("", "validation_")
        ):
            continue  # the same curves under another name
        lines, told = [], []
        for side, prefix in (("training", ""), ("validation", "validation_")):
            values = history.get(prefix + name)
            if values is not None and np.isfinite(values).any():
                lines.append(Curve(side, np.arange(1, epochs + 1), np.asarray(values)))
                told.append(f"{side} {number(values[0])} at first, {number(values[-1])} in the end")
        if lines:
            title = TOLD.get(name, name.replace("_", " "))
            pictures.append(
                curves(lines, f"{title[0].upper()}{title[1:]} of each epoch", "epoch", title, "; ".join(told),
                       marked=epochs < 30, whole=True)
            )  # fmt: skip
    validated = "validation_loss" in history
    told_of = "Training numbers are measured during the epoch, with dropout where there is some" + (
        "; validation numbers after it, on rows that do not train the model." if validated else "."
    )
    return [paragraph(f"{counted(epochs, 'epoch')}. {told_of}"), grid(pictures)]


def data(found: Found) -> list[Html]:
    """How many sequences there are, of which lengths, and what is missing or unknown."""
    lengths = found.lengths
    rows = [
        ("sequences", number(found.n)),
        ("steps", number(lengths.sum())),
        (
            "steps of a sequence",
            f"{lengths.min():,} to {lengths.max():,}, median {number(np.median(lengths))}, "
            f"mean {number(lengths.mean())}",
        ),
    ]
    more: list[Html] = []
    if isinstance(found.data, Texts):
        rows.append(("tokens", {"integers": "whole numbers"}.get(found.data.kind, found.data.kind)))
        unknown = _unknown(found, found.data)
        total = int(lengths.sum())
        rows.append(("unknown to the model", f"{sum(unknown.values()):,} of {total:,} tokens"))
        if unknown:
            named = [f"“{cut(token, 40)}” {count:,} times" for token, count in unknown.most_common(MOST_TOKENS)]
            rest = len(unknown) - len(named)
            more.append(
                paragraph("Unknown: ", tag("bdi", ", ".join(named)), f", and {rest:,} others." if rest > 0 else ".")
            )
    else:
        values = found.values
        gaps = int(np.isnan(values).sum())
        rows.append(("features", number(values.shape[1])))
        rows.append(("missing values", f"{gaps:,} of {values.size:,} ({share(gaps / values.size)})"))
        more.append(_features(values, found.feature_names()))
    picture = []
    if lengths.min() < lengths.max():
        told = f"from {lengths.min()} to {lengths.max()}"
        picture = [histogram(lengths, "Lengths of the sequences", "steps", told, whole=True)]
    return [pairs(rows, "The sequences"), *more, grid(picture)]


def _unknown(found: Found, data: Texts) -> Counter[str]:
    """The tokens that the model does not know, as they are shown, and how often each is there."""
    strange = np.flatnonzero(found.fitted.encoded(data).steps == UNKNOWN)
    return Counter(tokens_of([str(data.tokens[k]) for k in strange.tolist()]))


def _features(values: HostArray, names: list[str]) -> Html:
    rows = []
    for d, name in enumerate(names[:MOST_FEATURES]):
        column = values[:, d].astype(np.float64)
        there = column[~np.isnan(column)]
        some = (there.mean(), there.std(), there.min(), there.max()) if len(there) else (np.nan,) * 4
        rows.append((quoted(name, 60), *map(number, some), share(1 - len(there) / len(column))))
    left = len(names) - len(rows)
    caption = "The features, over all steps" + (f"; the first {len(rows)} of {len(names)}" if left else "")
    return table(("feature", "mean", "standard deviation", "lowest", "highest", "missing"), rows, caption)
