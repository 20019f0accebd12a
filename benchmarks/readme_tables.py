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


if __name__ == "__main__":
    main()
