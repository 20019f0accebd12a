"""What is told through the logger "xlstm", once a process."""

from __future__ import annotations

said: set[str] = set()
"""The reasons that were told."""


def say_once(reason: str, message: str) -> None:
    """Once a process for each kind of reason, not for each size of work."""
    if reason not in said:
        said.add(reason)
        import logging  # not at the top: it would be a good part of the time of `import xlstm`

        logging.getLogger("xlstm").warning(message)
