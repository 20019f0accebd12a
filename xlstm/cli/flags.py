"""The flags of the commands that read data: how they are called, what each may be, and what is said of it."""

from __future__ import annotations

import argparse
import math

from .. import backends
from ..cells import CELLS
from ..estimators.classifier import SequenceClassifier
from ..readout import READOUTS
from ..sequences import MISSING
from . import arguments, forms, results, train
from .kinds import KINDS

STDIN = "- is standard input"
READ = "CSV, TSV, .ts, .npz, .npy, JSON lines, or Parquet"


def of_train(parser: argparse.ArgumentParser) -> None:
    """What is learned, of which data, by which settings, and where it goes."""
    usual = SequenceClassifier()
    parser.epilog = (
        "The defaults of settings are the estimator's (see xlstm.SequenceClassifier); for the embedded names, "
        + ", ".join(f"{name} {value}" for name, value in train.NAMES_SETTINGS.items())
    )
    parser.add_argument(
        "files",
        nargs="*",
        metavar="FILE",
        help=f"a file: {READ}, text files also packed by gzip; {STDIN}; several of one kind are read again in each "
        "epoch, some sequences at a time, so that memory need not hold them (default: the embedded first names)",
    )
    parser.add_argument(
        "--task",
        choices=tuple(KINDS),
        help="what is answered: one of some classes, a number, a class at every step, or several labels at once "
        "(default: classes)",
    )
    text_and_label(parser, "{}")
    forms_of_tables(parser)
    parser.add_argument(
        "--separator",
        type=arguments.separator,
        metavar="S",
        help="what stands between the labels of a sequence, for --task labels (default: ;)",
    )
    reading(parser)
    skipping(parser)
    parser.add_argument(
        "--words",
        action="store_true",
        help="tokens are words, split at white space (default: characters)",
    )
    parser.add_argument(
        "--keep-case",
        action="store_true",
        help="tell upper and lower case apart (default: they are one)",
    )
    _results(parser)
    _settings(parser, usual)


def _results(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--out",
        metavar="FILE",
        help="the model's file; an older model there is replaced, another file only by --force (default: "
        f"{results.NAMES_MODEL}; the data's name with .xlstm; {results.STANDARD_INPUT_MODEL} for standard input)",
    )
    parser.add_argument(
        "--held-out",
        metavar="FILE",
        help="the file of the held-out rows, or of the ids of held-out sequences where the data has no rows of text "
        "(default: the model's name with .held-out.csv, or as the data's)",
    )
    parser.add_argument(
        "--force",
        action="store_true",
        help="replace the files of the model and of the held-out rows, whatever is in them (default: a model, and the "
        "rows only if train wrote them with it, and nobody changed them)",
    )
    parser.add_argument(
        "--resume",
        metavar="FILE",
        help="keep the training there while it runs, and go on from there after a kill (default: it is not kept)",
    )
    parser.add_argument(
        "--keep-interrupted",
        action="store_true",
        help="write the model of the whole epochs where Ctrl-C or SIGTERM ends the training (default: nothing is "
        "written then, an older model stays; the exit code is 130 or 143 in any case)",
    )
    parser.add_argument(
        "--seed", type=arguments.seed, default=0, help="of the split, the weights and the order (default: 0)"
    )
    parser.add_argument(
        "--test-fraction",
        type=arguments.number(0, 1, low_too=True),
        default=0.2,
        metavar="F",
        help="part held out; 0 trains on all rows, without scores (default: 0.2)",
    )


def _settings(parser: argparse.ArgumentParser, usual: SequenceClassifier) -> None:
    parser.add_argument("--cell", choices=tuple(CELLS), help=f"the recurrent cell (default: {usual.cell})")
    parser.add_argument(
        "--readout",
        choices=tuple(name for name, readout in READOUTS.items() if not readout.each_step),
        help=f"what of a sequence the answer is made of (default: {usual.readout})",
    )
    whole, share = arguments.count, arguments.number(0, 1, low_too=True)
    for flag, kind, help in (
        ("--hidden-size", whole, f"size of the state (default: {usual.hidden_size})"),
        ("--num-layers", whole, f"stacked layers (default: {usual.num_layers})"),
        ("--embedding-size", whole, "size of a learned embedding of tokens (default: none, tokens are one-hot)"),
        ("--dropout", share, f"fraction set to zero in training (default: {usual.dropout})"),
        ("--epochs", whole, "passes over the data (default: enough for 1000 updates, 20 to 400)"),
        ("--batch-size", whole, "sequences a batch (default: a 128th of the rows, 32 to 256)"),
        (
            "--learning-rate",
            arguments.number(0, math.inf),
            f"the highest learning rate (default: {usual.learning_rate_init})",
        ),
    ):
        parser.add_argument(flag, type=kind, metavar="N" if kind is whole else "X", help=help)
    parser.add_argument(
        "--missing",
        choices=MISSING,
        help="what becomes of values that are not there: an error, or the mean of the training and a mark that says so "
        f"(default: {usual.missing})",
    )
    parser.add_argument(
        "--kernels", choices=backends.KERNELS, help=f"which implementation of the layers (default: {usual.kernels})"
    )
    parser.add_argument(
        "--precision",
        choices=backends.PRECISIONS,
        help="what a GPU's products in float32 may be computed with; the CPU's are always of the highest "
        f"(default: {usual.precision})",
    )
    parser.add_argument(
        "--bidirectional",
        action="store_true",
        default=None,
        help="read in both directions (default: forward alone)",
    )
    parser.add_argument(
        "--early-stopping",
        action="store_true",
        default=None,
        help=f"stop when the score on {usual.validation_fraction:.0%}% of the training rows, which are not trained "
        f"on, has not risen for {usual.n_iter_no_change} epochs (default: all epochs)",
    )
    parser.add_argument(
        "--class-weight",
        type=arguments.class_weight,
        action=arguments.ClassWeight,
        metavar="balanced|LABEL=X,...",
        help="weigh classes by the inverse of their frequency, or by numbers, as male=1.5,female=1; may be given "
        "several times (default: each class 1)",
    )
    parser.add_argument(
        "--loss",
        choices=("squared", "absolute", "huber"),
        help="for --task number: whether the answer is to be the mean of the numbers that such sequences have, their "
        "median, or something between (default: squared)",
    )
    parser.add_argument(
        "--ignore",
        type=arguments.text,
        metavar="LABEL",
        help="for --task steps: a label that does not count (default: all count)",
    )


def of_predict(parser: argparse.ArgumentParser) -> None:
    """What is answered, and in which form."""
    parser.add_argument("model", help="a file that train wrote")
    parser.add_argument(
        "texts",
        nargs="*",
        metavar="TEXT",
        help="texts to answer; for a model that reads numbers, the one file that holds them (default: lines of "
        "standard input, or of numbers a table there)",
    )
    parser.add_argument(
        "--lines",
        metavar="FILE",
        help=f"answer the lines of a file, also packed by gzip; {STDIN} (default: no file)",
    )
    parser.add_argument(
        "--data",
        metavar="FILE",
        help=f"answer the sequences of a file: {READ}; {STDIN} (default: no file)",
    )
    text_and_label(parser, "the one that the model was trained on, else {}")
    forms_of_tables(parser, remembered=True)
    reading(parser, remembered=True)
    parser.add_argument(
        "--format",
        choices=tuple(forms.FORMS),
        help="text for people, or for each sequence a JSON object (jsonl) or a row (tsv, csv); answered as they come "
        "(default: text, or what the name of --out says)",
    )
    parser.add_argument(
        "--out",
        metavar="FILE",
        help="write the answers there, whole or not at all, in place of a file of that name (default: standard output)",
    )


def of_evaluate(parser: argparse.ArgumentParser) -> None:
    """What is measured."""
    parser.add_argument("model", help="a file that train wrote")
    parser.add_argument("data", help=f"a file: {READ}, text files also packed by gzip; {STDIN}")
    text_and_label(parser, "the one that the model was trained on, else {}")
    forms_of_tables(parser, remembered=True)
    parser.add_argument(
        "--only",
        metavar="FILE",
        help="measure on the sequences whose ids this file lists, as train writes them (default: on all)",
    )
    reading(parser, remembered=True)
    skipping(parser)


def of_report(parser: argparse.ArgumentParser) -> None:
    """What the page is of, and where it goes."""
    of_evaluate(parser)
    parser.add_argument(
        "-o",
        "--out",
        metavar="FILE",
        default="report.html",
        help="the page, written whole or not at all, in place of an older one of that name (default: report.html)",
    )
    parser.add_argument("--force", action="store_true", help="replace the file, whatever is in it")
    parser.add_argument("--title", metavar="TEXT", help="of the page (default: the names of model and data)")


def text_and_label(parser: argparse.ArgumentParser, default: str) -> None:
    """Which columns hold texts and labels."""
    for name in ("text", "label"):
        parser.add_argument(
            f"--{name}",
            type=arguments.text,
            metavar="COLUMN",
            help=f"the column of the {name}s (default: {default.format(name)})",
        )


def forms_of_tables(parser: argparse.ArgumentParser, remembered: bool = False) -> None:
    """How tables of numbers are to be read."""
    otherwise = "as of the model" if remembered else "a row is a sequence"
    parser.add_argument(
        "--id",
        type=arguments.text,
        metavar="COLUMN",
        help=f"a row of the table is a step of the sequence that this column names (default: {otherwise})",
    )
    parser.add_argument(
        "--time",
        type=arguments.text,
        metavar="COLUMN",
        help="with --id: the order of the steps, numbers or dates (default: "
        f"{'as of the model' if remembered else 'that of the rows'})",
    )
    parser.add_argument(
        "--wide",
        action="store_true",
        help=f"a row of the table is a series of numbers (default: {'as of the model' if remembered else 'a text'})",
    )
    parser.add_argument(
        "--features",
        type=arguments.columns,
        metavar="A,B,...",
        help="the columns that are features of a step, or with --wide its steps in order (default: "
        f"{'as of the model, else ' if remembered else ''}all that are nothing else)",
    )
    if remembered:
        return
    parser.add_argument(
        "--delta",
        type=arguments.text,
        metavar="NAME",
        help="with --time: make the time since the step before a feature of this name (default: it is none)",
    )
    parser.add_argument(
        "--channels-first",
        action="store_true",
        help="arrays are (n, features, time) (default: (n, time, features))",
    )


def reading(parser: argparse.ArgumentParser, remembered: bool = False) -> None:
    """How text files are decoded and cut."""
    of_the_model = "; if the columns are not found by it, that of the table that the model was trained on"
    parser.add_argument(
        "--delimiter",
        type=arguments.delimiter,
        metavar="C",
        help="what separates the columns: a character, or tab (default: a comma, a tab in .tsv and .tab"
        f"{of_the_model if remembered else ''})",
    )
    parser.add_argument(
        "--encoding",
        type=arguments.encoding,
        default="utf-8",
        help="of the texts in files and on standard input (default: utf-8)",
    )


def skipping(parser: argparse.ArgumentParser) -> None:
    """What becomes of rows that lack something."""
    parser.add_argument(
        "--skip-empty",
        action="store_true",
        help="leave rows without a text or a label out, and count them (default: they are errors)",
    )
