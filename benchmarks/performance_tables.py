"""Make the tables of speed and memory in the pages, from the files in results/: docs/performance.md, docs/memory.md,
docs/serving.md, the part of docs/devices.md on weights of fewer bits, and in the README what stands beside the chart
and what the first command prints.

    python benchmarks/performance_tables.py              prints them
    python benchmarks/performance_tables.py --write      writes them between their markers in the pages

The newest result of each command is taken, and of peers.py that of each cell and kind of CPU; nothing is measured. The
tests compare the pages with what is printed.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable, Iterator

from lib.checkout import ROOT
from lib.command import Row, digits, kept, newest
from lib.pages import NOTHING, SHAPE, between, heading, in_order, line, measured_on, paragraph, size
from lib.peer_tables import NAMES, beside_others, in_a_sentence

from xlstm import cli, data
from xlstm.prepared import PRECISIONS


def main() -> int:
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--write", action="store_true", help="into the pages")
    options = made.parse_args()
    blocks = {name: made_for(name) for name in PAGES}
    pages = {name: page_with(name, texts) for name, texts in blocks.items()}
    for name, texts in blocks.items():
        if options.write:
            (ROOT / name).write_text(pages[name], encoding="utf-8")
        else:
            print("\n\n".join(f"{name}, {block}:\n\n{text}" for block, text in texts.items()), end="\n\n")
    return 0


def made_for(page: str) -> dict[str, str]:
    """What is to stand between the markers of a page."""
    return {block: "\n".join(lines()).strip() for block, lines in PAGES[page].items()}


def page_with(name: str, texts: dict[str, str]) -> str:
    page = (ROOT / name).read_text(encoding="utf-8")
    for block, text in texts.items():
        page = between(page, block, "performance_tables.py", text)
    return page


# ---------------------------------------------------------------- docs/performance.md


def memory() -> Iterator[str]:
    result = newest("footprint")
    rows = result["memory"]
    sides = list(dict.fromkeys(side for row in rows for side in row["bytes"]))
    title = f"LSTM, MB that training steps add at most, in a fresh process ({measured_on(result)})"
    yield from heading(title, [SHAPE, *(NAMES.get(side, side) for side in sides)])
    for row in in_order(rows):
        cells = (f"{row['bytes'][side] / 1e6:.1f}" if side in row["bytes"] else NOTHING for side in sides)
        yield line([size(row), *cells])


def installed() -> Iterator[str]:
    result = newest("footprint")
    sizes, title = result["size"], "Imports in fresh processes, and files as pip installs them"
    header = ["library", "import, ms", "size, MB", "with its dependencies, MB"]
    yield from heading(f"{title} ({measured_on(result)})", header)
    for name, times in sizes["import_seconds"].items():
        alone, whole = sizes["bytes"][name] / 1e6, sizes["bytes_with_dependencies"][name] / 1e6
        yield line([name, f"{1e3 * times['median']:.0f}", f"{alone:.1f}", f"{whole:.1f}"])
    alone = newest("import_time")
    yield from (
        "",
        *paragraph(
            f"`import xlstm` takes {alone['ratios']['median']:.2f} times as long as `import numpy`, which it includes "
            f"({measured_on(alone)})."
        ),
    )


def layers() -> Iterator[str]:
    result = newest("layers")
    versions = result["machine"]["versions"]
    title = (
        f"LSTM, ms for a training step, the input's gradient included ({measured_on(result)}, NumPy "
        f"{versions['numpy']}, torch {versions['torch']})"
    )
    yield from heading(title, [SHAPE, "xlstm, array code", "torch", "against torch"])
    for row in in_order(result["rows"]):
        torch, ours = (1e3 * row["seconds"][side]["median"] for side in ("torch", "reference"))
        yield line([size(row), digits(ours), digits(torch), f"{row['times_as_fast']['torch']['median']:.2f} ×"])


def parts() -> Iterator[str]:
    """Of kernel_parts.py: a table for each instruction set, a part a row, a shape a column."""
    results = [result for _, result in kept("kernel_parts")]
    if not results:
        yield "**Not measured yet**: `python benchmarks/kernel_parts.py --targets avx512,avx2 --out`."
        return
    result = max(results, key=lambda each: str(each["date"]))
    for target in dict.fromkeys(row["target"] for row in result["rows"]):
        rows = in_order([row for row in result["rows"] if row["target"] == target])
        title = f"LSTM on {target}, its parts alone ({measured_on(result)})"
        yield from heading(title, ["part", *map(size, rows)])
        for part in dict.fromkeys(part for row in rows for part in row["parts"]):
            yield line([part, *(part_alone(row["parts"], part) for row in rows)])
        for whole in ("inference", "training"):
            shares = [row.get(f"{whole}_share") for row in rows]
            if whole not in rows[0]["parts"] and any(shares):
                yield line([whole, *(NOTHING if share is None else f"{share:.2f}" for share in shares)])


def part_alone(parts: Row, part: str) -> str:
    """The share of the peak where it has products, else the percentage of its whole."""
    found, whole = parts.get(part), parts.get(part.partition(",")[0])
    if found is None:
        return NOTHING
    if "share_of_peak" in found:
        return f"{found['share_of_peak']:.2f}"
    return NOTHING if whole is None else f"{100 * found['flops_at_peak'] / whole['flops_at_peak']:.0f} %"


def epochs() -> Iterator[str]:
    result = newest("epochs")
    title = f"ms for an epoch of training, and for the same model written by hand in PyTorch ({measured_on(result)})"
    yield from heading(title, ["job", "xlstm", "torch, packed", "torch, gathered", "against the faster of these"])
    for row in result["rows"]:
        cells = (digits(1e3 * row["seconds"][side]["median"]) for side in ("xlstm", "packed", "gathered"))
        yield line([row["job"], *cells, f"{row['got']:.2f} ×"])


def quality() -> Iterator[str]:
    names, sets = newest("names"), newest("datasets")
    header = ["classifier", "seeds", "mean accuracy", "median time of a fit", "measured on"]
    yield from heading("The whole of training", header)
    told = f"first names, held-out fifth (balanced {names['means']['balanced_accuracy']:.3f})"
    yield line([told, *of_runs(names["runs"]), measured_on(names)])
    for entry in sets["sets"]:
        yield line([f"{entry['set']}, its test part", *of_runs(entry["runs"]), measured_on(sets)])
    found = [run["accuracy"] for run in names["runs"]]
    yield from (
        "",
        *paragraph(
            f"The accuracy of a single run depends on its seed: the first names range from {min(found):.3f} to "
            f"{max(found):.3f}, and the README shows the one of seed {names['runs'][0]['seed']}."
        ),
    )


def of_runs(runs: list[Row]) -> list[str]:
    accuracy, seconds = ([run[key] for run in runs] for key in ("accuracy", "seconds"))
    return [str(len(runs)), f"{statistics.mean(accuracy):.3f}", f"{statistics.median(seconds):.1f} s"]


# ---------------------------------------------------------------- docs/memory.md


def series() -> Iterator[str]:
    result = newest("series_memory")
    settings = result["settings"]
    title = (
        f"{settings['rows']:,} series of 8 features, `hidden_size={settings['hidden_size']}`, "
        f"float32 in the model; MB of memory ({measured_on(result)})"
    )
    header = ["X", "X, MB", "`fit` beside X, MB", "times X", "`predict` beside X, MB", "read, checked and scaled, s"]
    yield from heading(title, header)
    for row in result["rows"]:
        what = "an array of 50 steps" if row["form"] == "array" else "a list, of 20 to 80 steps"
        cells = (f"{row['X']:.0f}", f"{row['fit']:.0f}", f"{row['fit'] / row['X']:.2f}", f"{row['predict']:.0f}")
        yield line([f"{what}, {row['dtype']}", *cells, f"{row['seconds']:.2f}"])


def strings() -> Iterator[str]:
    result = newest("memory")
    found = {row["way"]: f"{row['megabytes']:.0f} MB" for row in result["rows"]}
    yield from paragraph(
        f"[{result['settings']['rows']:,} short strings](../benchmarks/README.md) from files trained in "
        f"{found['files']} over the interpreter, with the buffer as it comes; in {found['files, all held']} with a "
        f"buffer that held them all, to the same bits as from lists, which took {found['in memory']} "
        f"({measured_on(result)})."
    )


# ---------------------------------------------------------------- docs/devices.md


def narrow() -> Iterator[str]:
    result = newest("narrow")
    title = (
        f"How many times as fast as float32, one LSTM, prepared; in the last column int8 against onnxruntime's "
        f"`DynamicQuantizeLSTM` ({measured_on(result)}, {result['settings']['rounds']} rounds)"
    )
    header = ["kernels", SHAPE, "weights in float32, KB", *PRECISIONS, "int8 against onnxruntime's"]
    yield from heading(title, header, words=2)
    for target, rows in result["targets"].items():
        for row in rows:
            factors = [row["against_float32"].get(precision) for precision in PRECISIONS]
            factors.append(row["against_onnxruntime"].get("int8"))
            cells = (NOTHING if found is None else f"{found['median']:.2f}" for found in factors)
            yield line([target, size(row), f"{row['weights_kb']:.0f}", *cells])
    every = [row for rows in result["targets"].values() for row in rows]
    ours = (f"{precision} {errors(row['errors'].get(precision) for row in every)}" for precision in PRECISIONS)
    theirs = errors(row["errors"][row["onnxruntime"]["int8"]] for row in every)
    told = f"Errors of the outputs against float64, relative, of their norm: {', '.join(ours)}; onnxruntime's {theirs}."
    yield from ("", *paragraph(told))


def errors(found: Iterator[float | None]) -> str:
    known = [value for value in found if value is not None]
    least, most = (f"{value:.0e}".replace("e-0", "e-") for value in (min(known), max(known)))
    return least if least == most else f"{least} to {most}"


def accuracies() -> Iterator[str]:
    result = newest("narrow_accuracy")
    runs = len(result["sets"][0]["runs"])
    title = f"Accuracy on the test part, mean of {runs} seeds ({measured_on(result)})"
    yield from heading(title, ["set", *result["sets"][0]["mean"]])
    for each in result["sets"]:
        yield line([each["set"], *(f"{value:.4f}" for value in each["mean"].values())])


# ---------------------------------------------------------------- the README


def serving() -> Iterator[str]:
    """Of serving.py."""
    result = newest("serving")
    title = f"First names by an LSTM of 64 units, one thread ({measured_on(result)}; the file for ONNX: "
    title += f"{result['file_size'] / 1000:.0f} kB)"
    yield from heading(title, ["served by", "1 name, µs", "32 names, µs", "memory of the process, MB"])
    names = {
        "prepared": "`prepare()`",
        "estimator": "`predict_proba`",
        "array": "`predict_proba` without compiled kernels",
    }
    for side, counts in result["seconds"].items():
        memory = f"{result['memory'][side] / 2**20:.0f}" if side in result["memory"] else NOTHING
        cells = (f"{1e6 * counts[count]['median']:.0f}" for count in ("1", "32"))
        yield line([names.get(side, side), *cells, memory])
    yield from ("", f"One more letter of a stream takes {1e6 * result['letter']['median']:.0f} µs.")


def first_command() -> Iterator[str]:
    """What `xlstm train` prints, with what it was with the first seed."""
    result = newest("names")
    run = result["runs"][0]
    trained = len(data.first_names()[0]) - run["n_test"]
    yield from (
        "```console",
        "$ pip install -e . && xlstm train",
        "… (an epoch a line, on stderr)",
        f"accuracy {run['accuracy']:.4f}, balanced {run['balanced_accuracy']:.4f}, on {run['n_test']} held-out texts "
        "(names.held-out.csv)",
        f"trained {cli.NAMES_SETTINGS['max_iter']} epochs on {trained} texts of 2 classes in {run['seconds']:.1f} s",
        f"device: {run['device']}, kernels: {run['kernels']}",
        "model: names.xlstm",
        "next: xlstm predict names.xlstm Olga Boris",
        "```",
        "",
        f"(On {measured_on(result)}.)",
    )


PAGES: dict[str, dict[str, Callable[[], Iterator[str]]]] = {
    "docs/performance.md": {
        "lstm": lambda: beside_others("lstm"),
        "gru": lambda: beside_others("gru"),
        "rnn": lambda: beside_others("rnn"),
        "parts": parts,
        "memory": memory,
        "size": installed,
        "array code": layers,
        "epochs": epochs,
        "whole training": quality,
    },
    "docs/memory.md": {"series": series, "strings": strings},
    "docs/serving.md": {"serving": serving},
    "docs/devices.md": {"narrow": narrow, "narrow accuracy": accuracies},
    "README.md": {"peers": in_a_sentence, "first command": first_command},
}
"""By page: what stands between which markers."""


if __name__ == "__main__":
    sys.exit(main())
