"""The arguments of the command line, and what each may be."""

from __future__ import annotations

import argparse
import codecs
import math
from collections.abc import Callable, Sequence
from typing import Any

from .. import __version__, backends
from ..cells import CELLS
from ..estimators.classifier import SequenceClassifier
from . import describe, evaluate, forms, machine, predict, train

TEXTS_ONLY = (
    "The command line reads texts only; series of numbers and lists of tokens are for Python "
    "(xlstm.SequenceClassifier)."
)


def parsed(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The arguments of one command, and under `run` the function that it is. A wrong call ends with SystemExit(2)."""
    parser = _parser()
    # Of `predict MODEL --json TEXT` argparse leaves the texts over: it takes a list that may be empty for empty there.
    options, left = parser.parse_known_args(arguments)
    end = left.index("--") if "--" in left else len(left)
    if left and (not hasattr(options, "texts") or any(text.startswith("-") for text in left[:end])):
        parser.error(f"unrecognized arguments: {' '.join(left)} (a text that begins with - goes after a --)")
    if left:
        options.texts += left[:end] + left[end + 1 :]
    return options


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="xlstm", description=f"Train and use a recurrent network that classifies sequences. {TEXTS_ONLY}"
    )
    parser.add_argument("--version", action="version", version=f"xp-lstm {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, run: Callable[[Any], int], help: str, more: str = "") -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=help, description=f"{help[0].upper()}{help[1:]}. {more}".strip())
        sub.set_defaults(run=run, parser=sub)
        sub.add_argument("--json", action="store_true", help="print one line of JSON (default: text for people)")
        usual = "every device of this machine" if name == "check" else "XLSTM_DEVICE, else auto"
        sub.add_argument("--device", type=_device, help=f"auto, cpu, cuda or cuda:N (default: {usual})")
        return sub

    _train(
        command(
            "train",
            train.run,
            "train a classifier on the embedded first names, or on a CSV or TSV file",
            f"{TEXTS_ONLY} Upper and lower case are one unless --keep-case is given.",
        )
    )
    _predict(command("predict", predict.run, "classify texts", TEXTS_ONLY))
    measured = command("evaluate", evaluate.run, "measure a model on labelled texts", TEXTS_ONLY)
    measured.add_argument("model", help="a file that train wrote")
    measured.add_argument("data", help=f"CSV or TSV file with a header, also packed by gzip; {_STDIN}")
    _columns(measured, "the one that the model was trained on, else {}")
    _reading(measured, remembered=True)
    _skipping(measured)

    shown = command(
        "show",
        describe.run,
        "tell what a model reads and answers, and how it was trained",
    )
    shown.add_argument("model", help="a file that train wrote, or save")

    timed = command("bench", machine.run_bench, "time forward and training step of each backend on this machine")
    timed.add_argument(
        "--save",
        action="store_true",
        help="keep, in the user's configuration folder, from which size of work on the GPU was faster than the CPU: "
        "device auto goes by it (default: it goes by an estimate)",
    )
    command("devices", machine.run_devices, "list the devices of this machine, which is used, and why not the others")
    check = command(
        "check",
        machine.run_check,
        "check the gradients of every backend of this machine against finite differences",
        "What makes cells fast on a GPU is also compared with the array code there, in every dtype and precision.",
    )
    check.add_argument("--seed", type=_seed, default=0, help="of the random inputs (default: 0)")
    return parser


_STDIN = "- is standard input"


def _train(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "The defaults of settings are the classifier's (see xlstm.SequenceClassifier); for the embedded names, "
        + ", ".join(f"{name} {value}" for name, value in train.NAMES_SETTINGS.items())
    )
    usual = SequenceClassifier()
    parser.add_argument(
        "data",
        nargs="?",
        help=f"CSV or TSV file with a header, also packed by gzip; {_STDIN} (default: the embedded first names)",
    )
    _columns(parser, "{}")
    _reading(parser)
    _skipping(parser)
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
    parser.add_argument(
        "--out",
        metavar="FILE",
        help=f"the model's file, replaced if there is one (default: {train.NAMES_MODEL}; the data's name with .xlstm; "
        f"{train.STANDARD_INPUT_MODEL} for standard input)",
    )
    parser.add_argument(
        "--held-out",
        metavar="FILE",
        help="the file of the held-out rows (default: the model's name with .held-out.csv, or .tsv)",
    )
    parser.add_argument(
        "--force",
        action="store_true",
        help="replace the file of the held-out rows, whatever is in it (default: only if train wrote it with the model "
        "of this name, and nobody changed it)",
    )
    parser.add_argument("--seed", type=_seed, default=0, help="of the split, the weights and the order (default: 0)")
    parser.add_argument(
        "--test-fraction",
        type=_number(0, 1, low_too=True),
        default=0.2,
        metavar="F",
        help="part held out; 0 trains on all rows, without scores (default: 0.2)",
    )
    parser.add_argument("--cell", choices=tuple(CELLS), help=f"the recurrent cell (default: {usual.cell})")
    for flag, kind, help in (
        ("--hidden-size", _count, f"size of the state (default: {usual.hidden_size})"),
        ("--num-layers", _count, f"stacked layers (default: {usual.num_layers})"),
        ("--embedding-size", _count, "size of a learned embedding of tokens (default: none, tokens are one-hot)"),
        (
            "--dropout",
            _number(0, 1, low_too=True),
            f"fraction set to zero in training (default: {usual.dropout})",
        ),
        ("--epochs", _count, "passes over the data (default: enough for 1000 updates, 20 to 400)"),
        ("--batch-size", _count, "sequences a batch (default: a 128th of the rows, 32 to 256)"),
        ("--learning-rate", _number(0, math.inf), f"the highest learning rate (default: {usual.learning_rate_init})"),
    ):
        parser.add_argument(flag, type=kind, metavar="N" if kind is _count else "X", help=help)
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
        help=f"stop when the accuracy on {usual.validation_fraction:.0%}% of the training rows, which are not trained "
        f"on, has not risen for {usual.n_iter_no_change} epochs (default: all epochs)",
    )
    parser.add_argument(
        "--class-weight",
        type=_class_weight,
        action=_ClassWeight,
        metavar="balanced|LABEL=X,...",
        help="weigh classes by the inverse of their frequency, or by numbers, as male=1.5,female=1; may be given "
        "several times (default: each class 1)",
    )


def _predict(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", help="a file that train wrote")
    parser.add_argument("texts", nargs="*", metavar="TEXT", help="texts to classify (default: lines of standard input)")
    parser.add_argument(
        "--lines",
        metavar="FILE",
        help=f"classify the lines of a file, also packed by gzip; {_STDIN} (default: no file)",
    )
    parser.add_argument(
        "--data",
        metavar="FILE",
        help=f"classify a column of a CSV or TSV file with a header, also packed by gzip; {_STDIN} (default: no table)",
    )
    parser.add_argument(
        "--text",
        metavar="COLUMN",
        help="the column of the texts in --data (default: the one that the model was trained on, else text)",
    )
    _reading(parser, remembered=True)
    parser.add_argument(
        "--format",
        choices=tuple(forms.FORMS),
        help="text for people, or for each text a JSON object (jsonl) or a row (tsv, csv); answered as texts come "
        "(default: text, or what the name of --out says)",
    )
    parser.add_argument(
        "--out",
        metavar="FILE",
        help="write the answers there, whole or not at all, in place of a file of that name (default: standard output)",
    )


def _columns(parser: argparse.ArgumentParser, default: str) -> None:
    for name in ("text", "label"):
        parser.add_argument(
            f"--{name}", metavar="COLUMN", help=f"the column of the {name}s (default: {default.format(name)})"
        )


def _reading(parser: argparse.ArgumentParser, remembered: bool = False) -> None:
    of_the_model = "; if the columns are not found by it, that of the table that the model was trained on"
    parser.add_argument(
        "--delimiter",
        type=_delimiter,
        metavar="C",
        help="what separates the columns: a character, or tab (default: a comma, a tab in .tsv and .tab"
        f"{of_the_model if remembered else ''})",
    )
    parser.add_argument(
        "--encoding",
        type=_encoding,
        default="utf-8",
        help="of the texts in files and on standard input (default: utf-8)",
    )


def _skipping(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--skip-empty",
        action="store_true",
        help="leave rows without a text or a label out, and count them (default: they are errors)",
    )


# ---------------------------------------------------------------- what arguments may be


def _seed(text: str) -> int:
    if not (text.isascii() and text.isdecimal()):
        raise argparse.ArgumentTypeError(f"must be an integer of 0 or more, got {text!r}")
    return int(text)


def _count(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and int(text)):
        raise argparse.ArgumentTypeError(f"must be an integer of 1 or more, got {text!r}")
    return int(text)


def _number(low: float, high: float, low_too: bool = False) -> Callable[[str], float]:
    """The type of a flag: a number between `low` and `high`, or `low` itself."""

    def number(text: str) -> float:
        value = _float(text)
        if not (low < value < high or (low_too and value == low)):
            least = f"{low} or more" if low_too else f"above {low}"
            raise argparse.ArgumentTypeError(f"must be a number {least}, below {high}, got {text!r}")
        return value

    return number


def _float(text: str) -> float:
    """NaN where it is no number."""
    try:
        return float(text)
    except ValueError:
        return math.nan


def _device(text: str) -> str:
    if not backends.is_device(text):
        raise argparse.ArgumentTypeError(f"must be auto, cpu, cuda or cuda:N, got {text!r}.{backends.meant(text)}")
    return text


def _delimiter(text: str) -> str:
    character = "\t" if text in ("tab", "\\t") else text
    if len(character) != 1 or character in '"\r\n\0':
        raise argparse.ArgumentTypeError(f"must be one character, or tab, and no quotation mark, got {text!r}")
    return character


def _encoding(text: str) -> str:
    try:
        "".encode(text)
        return codecs.lookup(text).name
    except (LookupError, ValueError):
        raise argparse.ArgumentTypeError(
            f"must be an encoding of text that Python knows, as utf-8, utf-16, latin-1 or cp1252, got {text!r}"
        ) from None


class _ClassWeight(argparse.Action):
    """`balanced`, or weights by label; several of them are taken together."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, option_string: Any = None
    ) -> None:
        before, new = getattr(namespace, self.dest), values
        if before is None:
            setattr(namespace, self.dest, new)
            return
        if not (isinstance(before, dict) and isinstance(new, dict)):
            raise argparse.ArgumentError(self, "balanced stands alone, without weights of single classes")
        if twice := before.keys() & new.keys():
            raise argparse.ArgumentError(self, f"the label {min(twice)!r} has two weights")
        setattr(namespace, self.dest, {**before, **new})


def _class_weight(text: str) -> str | dict[str, float]:
    """A comma or an equals sign belongs to a label where no weight stands before the comma, or after the sign."""
    if text == "balanced":
        return text
    weights: dict[str, float] = {}
    label = ""
    for part in text.split(","):
        label += part
        name, _, number = label.rpartition("=")
        name = name.strip()  # as labels of a table are
        if not 0 <= _float(number) < math.inf or not name:
            label += ","
            continue
        if name in weights:
            raise argparse.ArgumentTypeError(f"the label {name!r} has two weights in {text!r}")
        weights[name], label = _float(number), ""
    if label:
        raise argparse.ArgumentTypeError(
            f"must be balanced, or LABEL=WEIGHT with weights of 0 or more, separated by commas, got {text!r}"
        )
    return weights
