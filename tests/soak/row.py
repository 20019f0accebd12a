"""What a soak gives: a row of its table."""

from __future__ import annotations

from typing import NamedTuple


class Row(NamedTuple):
    """How often something was tried, and what failed, a line each."""

    name: str
    tries: int
    failures: list[str]
    note: str = ""

    def __str__(self) -> str:
        return "  ".join(
            filter(None, [f"{self.name:<10} {self.tries:>7} tries {len(self.failures):>4} failures", self.note])
        )
