"""Print the table of the README on how well the defaults learn, from the newest result of `learning.py` in results/.

    python benchmarks/learning_table.py

Nothing is measured. The tests compare what it prints with the page.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from lib.command import Row, newest

NAMES = {"default": "xlstm", "before": "last step, constant rate"}
"""What the columns are called, where that is not the name in the results."""


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    print("\n".join(lines(newest("learning"))))


def lines(result: Row) -> Iterator[str]:
    """A set a row, the best of it in bold."""
    variants = list(dict.fromkeys(variant for entry in result["sets"] for variant in entry["accuracies"]))
    yield f"| set | {' | '.join(NAMES.get(variant, variant) for variant in variants)} |"
    yield f"|---|{'---:|' * len(variants)}"
    for entry in result["sets"]:
        means = {variant: found["mean"] for variant, found in entry["accuracies"].items()}
        yield line(entry["set"], variants, means)
    for where, means in result["means"].items():
        known = {variant: mean for variant, mean in means.items() if mean is not None}
        yield line(f"mean, {where}", variants, known)


def line(name: str, variants: list[str], means: dict[str, float]) -> str:
    told = {variant: f"{mean:.3f}" for variant, mean in means.items()}
    best = max(told.values())
    cells = (f"**{told[v]}**" if told.get(v) == best else told.get(v, "–") for v in variants)
    return f"| {name} | {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
