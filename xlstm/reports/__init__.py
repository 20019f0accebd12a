"""A page on a fitted estimator and labelled data: what it is, how it was trained, how good its answers are.

One HTML file that needs nothing else: no network, no script, no package. Texts of the data are escaped.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date
from importlib.metadata import version
from typing import Any

from ..estimators.base import SequenceEstimator
from ..files import check_target, write_whole
from ..tasks.classes import Classes
from ..tasks.numbers import Numbers
from ..tasks.several import SeveralLabels
from ..tasks.steps import StepClasses
from . import facts, labels, numbers, several
from .found import Found
from .labels import Answers
from .page import Section, counted, escaped, written

__all__ = ["Report", "report"]

KINDS: tuple[tuple[type, Callable[[Found], Answers]], ...] = (
    (Classes, labels.report),
    (StepClasses, labels.report),
    (SeveralLabels, several.report),
    (Numbers, numbers.report),
)


class Report:
    """A page, and the measures that stand in it. In a notebook it shows itself.

    Attributes
    ----------
    html : str
        The whole page.
    measures : dict
        By name, with what there is of each class, label or number: see `report`.
    """

    def __init__(self, html: str, measures: dict[str, Any]) -> None:
        self.html, self.measures = html, measures

    def save(self, path: Any) -> None:
        """Write the page to a file, whole or not at all; an older one is replaced.

        Raises
        ------
        OSError
            If it cannot be written.
        """
        write_whole(path, [self.html.encode()])

    def __repr__(self) -> str:
        return f"<Report of {len(self.html):,} characters: save(path) writes it>"

    def _repr_html_(self) -> str:
        """In a frame of its own, so that its style does not reach the notebook's."""
        return (
            f'<iframe title="report" style="width:100%;height:40rem;border:0" srcdoc="{escaped(self.html)}"></iframe>'
        )


def report(
    estimator: Any,
    X: Any,
    y: Any,
    path: Any = None,
    *,
    names: Any = None,
    title: str | None = None,
    notes: Sequence[str] = (),
) -> Report:
    """A page on an estimator and labelled data, which should not be those that trained it.

    It has the settings and the learning curves; the data's lengths, gaps, unknown tokens and labels; the measures;
    confusion, ROC and calibration of labels, answers and residuals of numbers; and the worst mistakes by name, of the
    first of which it shows the steps that count. All rows count alike.

    Parameters
    ----------
    estimator
        A fitted classifier, labeler or regressor.
    X, y
        As for its `score`, in memory.
    path
        A file to write the page to, whole or not at all; an older one is replaced. None writes none.
    names
        (n,) what the sequences are called, such as the `ids` of a `Dataset`. None counts them from 0 on.
    title
        Of the page.
    notes
        Sentences to stand under the title: where the data come from, say.

    Returns
    -------
    Report
        `measures` has, by name, for classes "accuracy", "balanced_accuracy" (the mean recall of the classes that are
        there), "f1_macro", "log_loss", "accuracy_of_the_most_frequent", for two of them "roc_auc", and under "classes"
        of each of the 30 most frequent "n", "precision", "recall", "f1", "roc_auc"; of a labeler the same over all
        steps that count, and "n_steps". For several labels "f1_micro", "f1_macro", "subset_accuracy", "hamming_loss",
        "log_loss", and "labels". For numbers what `errors` gives, with "median_absolute_error" and "max_error", and
        under "numbers" the same of each if they are several. What has no meaning is NaN.

    Raises
    ------
    ValueError
        If the estimator is not fitted or gives no such answers; if y is not like that of the training; if data come in
        batches; if names are not as many as sequences.
    TypeError
        If it is no estimator; or as `predict`.
    OSError
        If the file cannot be written; nothing is left beside it.

    Examples
    --------
    >>> import xlstm
    >>> X, y = ["ab", "ba", "aab", "bba"] * 5, ["b", "a", "b", "a"] * 5
    >>> clf = xlstm.SequenceClassifier(hidden_size=8, max_iter=40, learning_rate_init=0.02, random_state=0).fit(X, y)
    >>> xlstm.report(clf, X, y).measures["accuracy"]
    1.0
    """
    if not isinstance(estimator, SequenceEstimator):
        raise TypeError(f"a report is of a fitted estimator of this library, got {type(estimator).__name__}.")
    task = estimator.fitted_state().task
    made = next((make for kind, make in KINDS if isinstance(task, kind)), None)
    if made is None:
        raise ValueError(
            f"a report is of labels or numbers: {type(estimator).__name__} has answers of the kind {task.kind!r}."
        )
    if path is not None:
        check_target(path)
    found = Found(estimator, X, y, names)
    answers = made(found)
    name = type(estimator).__name__
    page = written(
        title if title is not None else f"{name} on {counted(found.n, 'sequence')}",
        notes,
        answers.chief,
        [
            Section("answers", "How good the answers are", answers.measured),
            Section("mistakes", "The worst mistakes", answers.mistakes),
            Section("data", "The data", [*facts.data(found), *answers.truth]),
            Section("model", "The model", facts.model(found)),
            Section("training", "How it was trained", facts.training(found)),
        ],
        f"{name} on {counted(found.n, 'sequence')}; made by xp-lstm {version('xp-lstm')} on {date.today()}.",
    )
    done = Report(page, answers.measures)
    if path is not None:
        done.save(path)
    return done
