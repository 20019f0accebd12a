"""Packages that only some functions need: imported when they are called, or a word on how to install them."""

from __future__ import annotations

from importlib import import_module
from typing import Any


def imported(name: str, use: str, install: str, also: tuple[str, ...] = ()) -> Any:
    """A module of such a package.

    Parameters
    ----------
    name
        The module.
    use
        What it is for and who does it, as the sentence begins: "Parquet files are read by pyarrow".
    install
        What pip is to install.
    also
        Packages that it does not work without, and does not bring.

    Raises
    ------
    ImportError
        If it is not there: how to install it. What fails inside of it is raised as it is.
    """
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] not in (name.split(".")[0], *also):
            raise
        raise ImportError(f"{use}, which is not installed: pip install {install}.") from None
