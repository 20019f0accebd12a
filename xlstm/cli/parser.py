"""The commands: their names, what they are for, and which flags each has."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import Any

from .. import __version__
from . import arguments, describe, evaluate, flags, machine, predict, report, train

READS = (
    "Texts are rows of a table, or lines; series of numbers come from tables with a step a row (--id) or a series a "
    "row (--wide), and from .ts, .npz, .npy, JSON lines and Parquet."
)


def parsed(given: Sequence[str] | None = None) -> argparse.Namespace:
    """The arguments of one command, and under `run` the function that it is. A wrong call ends with SystemExit(2)."""
    parser = _parser()
    # Of `predict MODEL --json TEXT` argparse leaves the texts over: it takes a list that may be empty for empty there.
    options, left = parser.parse_known_args(given)
    end = left.index("--") if "--" in left else len(left)
    if left and (not hasattr(options, "texts") or any(text.startswith("-") for text in left[:end])):
        parser.error(f"unrecognized arguments: {' '.join(left)} (a text that begins with - goes after a --)")
    if left:
        options.texts += left[:end] + left[end + 1 :]
    return options


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="xlstm",
        description=f"Train and use a recurrent network that reads sequences: texts, or series of numbers. {READS}",
    )
    parser.add_argument("--version", action="version", version=f"xp-lstm {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, run: Callable[[Any], int], help: str, more: str = "") -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=help, description=f"{help[0].upper()}{help[1:]}. {more}".strip())
        sub.set_defaults(run=run, parser=sub)
        sub.add_argument("--json", action="store_true", help="print one line of JSON (default: text for people)")
        usual = "every device of this machine" if name == "check" else "XLSTM_DEVICE, else auto"
        sub.add_argument("--device", type=arguments.device, help=f"auto, cpu, cuda or cuda:N (default: {usual})")
        return sub

    flags.of_train(
        command(
            "train",
            train.run,
            "train a model on the embedded first names, or on a file",
            f"{READS} Upper and lower case are one unless --keep-case is given.",
        )
    )
    flags.of_predict(command("predict", predict.run, "answer for texts, or for the sequences of a file", READS))
    flags.of_evaluate(command("evaluate", evaluate.run, "measure a model on a file with labels", READS))
    flags.of_report(
        command(
            "report",
            report.run,
            "write a page on a model and a file with labels",
            "One HTML file that needs nothing else: measures, pictures of them, the worst mistakes with the steps that "
            "count, the data, settings, learning curves.",
        )
    )
    shown = command("show", describe.run, "tell what a model reads and answers, and how it was trained")
    shown.add_argument("model", help="a file that train wrote, or save")

    timed = command("bench", machine.run_bench, "time forward and training step of each backend on this machine")
    timed.add_argument(
        "--save",
        action="store_true",
        help="keep, in the user's configuration folder, from which size of work on the GPU was faster than the CPU: "
        "device auto goes by it (default: it goes by an estimate)",
    )
    timed.add_argument(
        "--plot",
        metavar="FILE",
        help="draw the times, as PNG, SVG or PDF by the file's ending; needs matplotlib (default: no picture)",
    )
    command("devices", machine.run_devices, "list the devices of this machine, which is used, and why not the others")
    check = command(
        "check",
        machine.run_check,
        "check the gradients of every backend of this machine against finite differences",
        "What makes cells fast on a GPU is also compared with the array code there, in every dtype and precision.",
    )
    check.add_argument("--seed", type=arguments.seed, default=0, help="of the random inputs (default: 0)")
    return parser
