"""What is told through the logger "xlstm", once a process."""

from __future__ import annotations

said: dict[str, object] = {}
"""The reasons that were told, and who told them."""


def say_once(reason: str, message: str, usual: bool = False) -> None:
    """Once a process for each kind of reason, not for each size of work. What is `usual` is information, no warning."""
    me = object()
    if said.setdefault(reason, me) is me:  # of several threads one, without a lock that a fork could find locked
        import logging  # not at the top: it would be a good part of the time of `import xlstm`

        logging.getLogger("xlstm").log(logging.INFO if usual else logging.WARNING, message)
