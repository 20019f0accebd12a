"""Print the tables of the README's section "How fast" from the files in results/.

    python benchmarks/readme_tables.py

takes the newest result of each benchmark; nothing is measured.
"""

import json
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def newest(name: str) -> dict[str, Any]:
    """The last result of one benchmark, by its date."""
    found = [json.loads(path.read_text(encoding="utf-8")) for path in RESULTS.glob(f"{name}-*.json")]
    return max(found, key=lambda result: result["date"])


def main() -> None:
    layers = newest("layers")
    machine, versions = layers["machine"], layers["machine"]["versions"]
    print(f"One training step, float32, {machine['processor']}, {layers['torch_threads']} threads on both sides,")
    print(f"NumPy {versions['numpy']}, torch {versions['torch']}, {layers['date']}:\n")
    print("| batch, time, features, hidden | torch | xlstm, reference path | speed against torch |")
    print("|---|---:|---:|---:|")
    for row in layers["rows"]:
        torch, ours = (1e3 * row["seconds"][side]["median"] for side in ("torch", "reference"))
        speed = row["times_as_fast"]["torch"]["median"]
        print(f"| {', '.join(map(str, row['size']))} | {torch:.3g} ms | {ours:.3g} ms | {speed:.2f} |")
    names, sets = newest("names")["means"], newest("datasets")["sets"]
    print("\n| classifier, five seeds | accuracy | a fit |")
    print("|---|---:|---:|")
    print(f"| first names, held-out fifth (balanced {names['balanced_accuracy']:.3f}) | {names['accuracy']:.3f} "
          f"| {names['seconds']:.0f} s |")  # fmt: skip
    for entry in sets:
        runs = entry["runs"]
        accuracy = sum(run["accuracy"] for run in runs) / len(runs)
        seconds = sum(run["seconds"] for run in runs) / len(runs)
        print(f"| {entry['set']}, its test part | {accuracy:.3f} | {seconds:.0f} s |")
    ratio = newest("import_time")["ratio_of_medians"]
    print(f"\n`import xlstm` takes {ratio:.2f} times as long as `import numpy`, which it includes.")
    peers()


def peers() -> None:
    """The compiled kernels beside other libraries, from the newest result of peers.py; nothing where there is none."""
    if not any(RESULTS.glob("peers-*.json")):
        return
    result = newest("peers")
    known = ", ".join(f"{name} {number}" for name, number in result["peers"].items())
    machine = result["machine"]
    print(
        f"\nfloat32, {machine['processor']}, {result['threads']} threads on all sides, kernels: {result['kernels']}, "
        f"NumPy {machine['versions']['numpy']}, {known}, {result['date']}. Milliseconds, medians; in bold the fastest "
        "of those whose results are right."
    )
    titles = {
        "train": "A training step",
        "inference": "Inference, the outputs of all steps",
        "stream": "One streamed step",
        "ragged": "A training step of a ragged batch",
    }
    for part, title in titles.items():
        if result.get(part):
            print(f"\n{title}:\n")
            _speeds(result[part])
    if result.get("ragged"):
        print()
        for row in result["ragged"]:
            cost, valid, steps = row["step_against_full"]["xlstm"], row["valid_steps"], row["all_steps"]
            print(f"`{row['shape']}`: {valid} of {steps} steps are valid; one costs {cost:.2f} × one of a full batch.")
    if result.get("memory"):
        print("\nMB that training steps add at most, in a fresh process:\n")
        rows = result["memory"]
        sides = list(dict.fromkeys(side for row in rows for side in row["bytes"]))
        _heading(["batch, time, features, hidden", *sides])
        for row in rows:
            cells = (f"{row['bytes'][side] / 1e6:.1f}" if side in row["bytes"] else "" for side in sides)
            print(f"| {', '.join(map(str, row['size']))} | {' | '.join(cells)} |")
    if "size" in result:
        size = result["size"]
        print("\nFresh processes, and files as pip installs them:\n")
        _heading(["", "import, ms", "size, MB", "with its dependencies, MB"])
        for name, times in size["import_seconds"].items():
            alone, whole = size["bytes"][name] / 1e6, size["bytes_with_dependencies"][name] / 1e6
            print(f"| {name} | {1e3 * times['median']:.0f} | {alone:.1f} | {whole:.1f} |")


def _speeds(rows: list[dict[str, Any]]) -> None:
    """One row a shape: each side's milliseconds, the fastest in bold, and how ours does against the fastest peer."""
    timed = dict.fromkeys(side for row in rows for side in row["seconds"])
    sides = [side for side in timed if not side.endswith("full batch")]
    _heading(["batch, time, features, hidden", *sides, "against the fastest peer", "of the FMA peak"])
    for row in rows:
        seconds = {side: row["seconds"][side]["median"] for side in sides if side in row["seconds"]}
        right = {side: value for side, value in seconds.items() if side not in row["wrong"]}
        fastest = min(right, key=lambda side: right[side], default=None)
        cells = []
        for side in sides:
            cell = f"{1e3 * seconds[side]:.3g}" if side in seconds else "wrong" if side in row["wrong"] else ""
            cell += " (wrong)" * (side in row["wrong"] and side in seconds)
            cells.append(f"**{cell}**" if side == fastest else cell)
        factor = row["times_as_fast"].get(row["fastest_peer"])
        cells.append("" if factor is None else f"{factor:.2f} × {row['fastest_peer']}")
        share = row["share_of_peak"].get(row["ours"])
        cells.append("" if share is None else f"{share:.2f}")
        print(f"| {', '.join(map(str, row['size']))} | {' | '.join(cells)} |")


def _heading(cells: list[str]) -> None:
    print(f"| {' | '.join(cells)} |")
    print(f"|---|{'---:|' * (len(cells) - 1)}")


if __name__ == "__main__":
    main()
