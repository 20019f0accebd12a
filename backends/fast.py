"""What a backend answers when it is asked for a fast implementation."""

from __future__ import annotations

from typing import Any, NamedTuple


class Fast(NamedTuple):
    """A fast implementation, or why there is none."""

    implementation: Any
    """What does the work; None where there is none."""
    name: str
    """What to call it."""
    reason: str
    """What there is, or why there is none."""
    mendable: bool = False
    """Whether the user could install what is missing: `reason` then says how."""
