"""From which size of work on the GPU of this machine is faster than its CPU, as `xlstm bench --save` measured it.

The file stands in the user's configuration folder. It names the processors that were measured: the figure of another
machine, or of a GPU that has been replaced, says nothing.
"""

from __future__ import annotations

import math
import os
import sys
from pathlib import Path
from typing import Any, NamedTuple

from .notices import say_once

FORM = 1
"""Of the file and of what was measured: raised when new kernels make older figures wrong."""


class Machine(NamedTuple):
    """What a figure is of."""

    cpu: str
    gpu: str


def path() -> Path:
    """The file; it need not be there.

    XDG_CONFIG_HOME names the folder of all configurations on every system. Where it is not set, that is %APPDATA% on
    Windows, ~/Library/Application Support on macOS, and ~/.config elsewhere.
    """
    if given := os.environ.get("XDG_CONFIG_HOME"):
        folder = Path(given)
    elif sys.platform == "win32":
        folder = Path(os.environ.get("APPDATA") or "~/AppData/Roaming")
    else:
        folder = Path("~/Library/Application Support" if sys.platform == "darwin" else "~/.config")
    return folder.expanduser() / "xlstm" / "crossing.json"


def saved() -> bool:
    """Whether any figure is there."""
    return path().is_file()


def of(machine: Machine) -> float | None:
    """The operations of a time step from which on the GPU was faster; infinite where it never was, None if unknown.

    A file that cannot be read is told of once, and ignored.
    """
    import json  # not where the library is imported: only few processes read it

    try:
        content = json.loads(path().read_text(encoding="utf-8"))
        if content["form"] != FORM or Machine(content["cpu"], content["gpu"]) != machine:
            return None
        figure = content["flops_per_step"]
        if figure is None:
            return math.inf
        if type(figure) not in (int, float) or not 0 <= figure < math.inf:
            raise ValueError(f"flops_per_step is {figure!r:.80}")
        return float(figure)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        told = f"it lacks {error}" if isinstance(error, KeyError) else str(error) or type(error).__name__
        say_once(
            "damaged crossing",
            f"{path()} is ignored, for it is damaged or cannot be read ({told}): xlstm bench --save writes it anew",
        )
        return None


def content(machine: Machine, flops_per_step: float | None) -> bytes:
    """What the file holds of a figure; None where the CPU was faster at every size."""
    import json

    held: dict[str, Any] = {"form": FORM, **machine._asdict(), "flops_per_step": flops_per_step}
    return (json.dumps(held, indent=1) + "\n").encode()
