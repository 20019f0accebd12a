"""Why the compiled kernels could not be loaded, and what would change that. Imported only where it is to be said."""

from __future__ import annotations

import csv
import importlib.machinery
import json
import platform
import re
import shlex
from importlib import metadata
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

DISTRIBUTION = "xp-lstm"
FOLDER = Path(__file__).resolve().parent
WAIT = "if pip is installing it at this moment, start again when it is done; else"


def explain(error: ImportError, folder: Path = FOLDER) -> str:
    """What was found where the extension module should be, and what to do, in one sentence.

    Parameters
    ----------
    error
        What its import raised.
    folder
        Where it should be.
    """
    found, remedy = _absent(folder) if isinstance(error, ModuleNotFoundError) else _not_loaded(error, folder)
    return f"the compiled kernels {found}, the reference path runs: {remedy}"


# ---------------------------------------------------------------- no file that this Python would load


def _absent(folder: Path) -> tuple[str, str]:
    suffixes = importlib.machinery.EXTENSION_SUFFIXES
    files = sorted(path.name for path in folder.glob("_kernels.*") if path.suffix in (".so", ".pyd"))
    if any(f"_kernels{suffix}" in files for suffix in suffixes):
        return "were installed after this process had looked for them", "start it again"
    if files:
        return (
            f"were built for another Python or another processor ({files[0]}; this one loads _kernels{suffixes[0]})",
            f"build them with this Python: {_command(folder)}",
        )
    distribution = _installation(folder)
    # Read here: `Distribution.files` leaves out what is no longer there, from Python 3.12 on or by importlib_metadata.
    record = None if distribution is None else distribution.read_text("RECORD")
    if record is None:
        return (
            f"are missing in {folder}, where there is no whole installation of {DISTRIBUTION}",
            f"{WAIT} install it: {_command(folder)}",
        )
    for row in csv.reader(record.splitlines()):
        file = PurePosixPath(row[0] if row else "")
        if file.parent.name == "cpu" and file.name.startswith("_kernels."):
            return f"were installed, but {file.name} is gone", f"{WAIT} install it anew: {_command(folder)}"
    return (
        "were not built when the package was installed (no compiler was found, or it failed)",
        f"install GCC or Clang with C++, then {_command(folder)} (-v shows why a compiler that is there failed)",
    )


# ---------------------------------------------------------------- a file that could not be loaded

# What the systems' loaders say (GNU, musl, macOS), what it means, and what to do before building them here. {0} is what
# the pattern found, {1} the processor.
LOADERS = (
    (r"version .(GLIBC_[\d.]+). not found", "were built on a newer system and need its {0}", ""),
    (r"version .((?:GLIBCXX|CXXABI|GOMP|OMP|GCC)_[\d.]+). not found", "need {0} of a newer compiler's libraries", ""),
    (r"undefined symbol:? (\w+)|symbol not found.*?'(\w+)'|: (\w+): symbol not found",
     "do not fit this Python or its libraries, which have no {0}", ""),
    (r"wrong ELF class|incompatible architecture|data encoding not|Exec format error|/_kernels\.[^/]*: cannot open",
     "were built for another processor than {1}", ""),
    (r"([^ /:]+): cannot open shared object file|loading shared library ([^ /:]+)|Library not loaded: (\S+)",
     "need the library {0}, which is not there", "install that library, or "),
    (r"file too short|invalid ELF header|truncated|not a mach-o file|PyInit_",
     "are in a file that is damaged, or not yet written to its end", f"{WAIT} "),
)  # fmt: skip


def _not_loaded(error: ImportError, folder: Path) -> tuple[str, str]:
    for pattern, meaning, first in LOADERS:
        match = re.search(pattern, str(error), re.IGNORECASE)
        if match:
            what = next(filter(None, match.groups()), "")
            found = f"{meaning.format(what, platform.machine())} ({error})"
            return found, f"{first}build them here: {_command(folder)}"
    return f"could not be loaded ({error})", f"build them here: {_command(folder)}"


# ---------------------------------------------------------------- how the package was installed


def _installation(folder: Path) -> metadata.Distribution | None:
    """The distribution that this folder is of; None where no record of pip's says so."""
    for distribution in metadata.Distribution.discover(name=DISTRIBUTION):
        if Path(str(distribution.locate_file("xlstm/backends/cpu"))).resolve() == folder:
            return distribution
        origin = _origin(distribution)
        if origin.get("dir_info", {}).get("editable") and folder.is_relative_to(_path(origin)):
            return distribution
    return None


def _origin(distribution: metadata.Distribution) -> dict[str, Any]:
    """What pip was told to install, where that was no name of an index: PEP 610."""
    origin: dict[str, Any] = json.loads(distribution.read_text("direct_url.json") or "{}")
    return origin


def _path(origin: dict[str, Any]) -> Path:
    return Path(unquote(urlsplit(origin["url"]).path)).resolve()


def _command(folder: Path) -> str:
    """The command that builds the package anew, from where it came."""
    distribution = _installation(folder)
    origin = {} if distribution is None else _origin(distribution)
    checkouts = [parent for parent in folder.parents if (parent / "pyproject.toml").is_file()]
    if origin.get("dir_info", {}).get("editable"):
        return f"pip install -e {shlex.quote(str(_path(origin)))}"
    if distribution is None and checkouts:
        return f"pip install -e {shlex.quote(str(checkouts[0]))}"
    if "dir_info" in origin:
        source = str(_path(origin))
    elif "vcs_info" in origin:
        vcs = origin["vcs_info"]
        source = f"{DISTRIBUTION} @ {vcs['vcs']}+{origin['url']}@{vcs['commit_id']}"
    elif origin and not origin["url"].endswith(".whl"):
        source = origin["url"]
    else:  # by its name, or of a wheel, which holds no sources
        source = f"--no-binary {DISTRIBUTION} {DISTRIBUTION}"
    # A wheel that pip built without a compiler may be in its cache.
    quoted = source if source.startswith("--") else shlex.quote(source)
    return f"pip install --force-reinstall --no-deps --no-cache-dir {quoted}"
