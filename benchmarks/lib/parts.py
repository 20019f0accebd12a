"""Parts of a long command, each in a process of its own: what fails, hangs or dies in one leaves all the rest.

A part is a function that lists its cases, and one that measures a case; a case is a dict of plain values, and so is
what is measured. The process of a part, `work`, writes a line of JSON for each case at once; `run`, in the process of
the command, reads them. A case that raises has its error for its row. A case whose process dies, or that takes longer
than a case may, has that for its row, and a new process goes on with the next one. So it is where a failure leaves the
device unusable: an illegal address ends all work of a process on a GPU.
"""

from __future__ import annotations

import contextlib
import faulthandler
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from .command import Row

Case = dict[str, Any]
AGAIN = 75
"""With this code a process ends whose device has become unusable: another one is to go on."""
START = 90.0
"""Seconds that a process may take to its first case: libraries are loaded, and the device is made ready."""
GRACE = 2.0
"""Seconds that a process has after its time, to end by itself."""
LATE = ("killed: ", "no time was left")
"""How the errors begin of what has not ended in its time."""
ERROR = 500
"""The most characters of an error that are kept."""


class Part(NamedTuple):
    """One part of a command."""

    title: str
    share: float
    """Of the time of the whole command, in relation to the shares of the others."""
    longest: float
    """Seconds that one case may take."""
    cases: Callable[[Row], list[Case]]
    """The cases, by what the command gives to all parts."""
    measure: Callable[[Case, Row, float], Row]
    """What is measured of a case: given it, what the command gives, and the seconds that it should take at most."""


# ---------------------------------------------------------------- the process of the command


def run(command: list[str], given: Row, seconds: float, longest: float) -> Row:
    """Do a part by processes that `command` starts; return its `rows`, the `seconds` that it took, and its `error`.

    Parameters
    ----------
    command
        Starts a process that calls `work`; the name of a folder and the number of a case are added.
    given
        What all parts are given: plain values.
    seconds, longest
        The time of the part; and of one case.
    """
    begin = time.monotonic()
    end, rows, error = begin + seconds, [], None
    with tempfile.TemporaryDirectory() as folder:
        progress = Progress(Path(folder, "lines"))
        while error is None and not progress.complete():
            Path(folder, "given").write_text(json.dumps({**given, "seconds": end - time.monotonic()}), encoding="utf-8")
            first = len(progress.rows)
            progress.forget_half_a_line()
            how = _watched([*command, folder, str(first)], progress, end, longest)
            if progress.cases is None:
                error = how or "the process ended before it told its cases"
            elif progress.begun:
                progress.rows.append({"error": how or "the process ended"})
            elif len(progress.rows) == first and not progress.complete():
                error = how or "the process ended without doing anything"
            if time.monotonic() >= end and not progress.complete():
                error = f"its {seconds:.0f} seconds were over"
        for k, case in enumerate(progress.cases or []):
            rows.append({**case, **(progress.rows[k] if k < len(progress.rows) else {"error": "no time was left"})})
    found: Row = {"seconds": time.monotonic() - begin, "rows": rows}
    return found if error is None else {**found, "error": error[:ERROR]}


class Progress:
    """What the processes of a part have told so far."""

    def __init__(self, path: Path) -> None:
        self.path, self._read = path, 0
        self.cases: list[Case] | None = None
        self.rows: list[Row] = []
        self.begun = False
        self.since = time.monotonic()  # when the case that has begun did so, or the process
        path.touch()

    def look(self) -> None:
        """Read what has been written since the last time, whole lines alone."""
        with open(self.path, "rb") as file:
            file.seek(self._read)
            for line in iter(file.readline, b""):
                if not line.endswith(b"\n"):
                    break
                self._read += len(line)
                told = json.loads(line)
                self.since = time.monotonic()
                self.cases = told.get("cases", self.cases)
                self.begun = "begin" in told
                if "row" in told:
                    self.rows.append(told["row"])

    def forget_half_a_line(self) -> None:
        """What a process that died was writing: another one is to begin a line of its own."""
        os.truncate(self.path, self._read)

    def complete(self) -> bool:
        return self.cases is not None and len(self.rows) >= len(self.cases)


def _watched(command: list[str], progress: Progress, end: float, longest: float) -> str | None:
    """Run a process to its end, or to the end of its time; how it ended, None where it did so by itself and well."""
    progress.begun, progress.since = False, time.monotonic()
    # What it prints is for people; the results of a command may go to its stdout.
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=sys.stderr, start_new_session=True)
    why = None
    try:
        while process.poll() is None and why is None:
            time.sleep(0.02)
            progress.look()
            if time.monotonic() > end + GRACE:
                why = "killed: the time of its part was over"
            elif time.monotonic() - progress.since > (longest if progress.begun else START):
                why = f"killed: it took more than {longest if progress.begun else START:.0f} seconds"
    finally:
        kill(process)
    progress.look()
    return why or _told_code(process.returncode)


def kill(process: subprocess.Popen[Any]) -> None:
    """End a process that leads a session, and all that it has started. One that even this does not end is left."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        print(f"process {process.pid} does not end, and is left alone", file=sys.stderr, flush=True)


def _told_code(code: int | None) -> str | None:
    if code in (0, AGAIN):
        return None
    if code is None:
        return "its process does not end"
    if code < 0:
        return f"its process was killed by {signal.Signals(-code).name}"
    return f"its process ended with code {code}"


# ---------------------------------------------------------------- the process of a part


def work(part: Part, folder: Path, first: int, usable: Callable[[Row], bool]) -> int:
    """Do the cases from `first` on; the exit code.

    `usable` tells, once a case or something that its row calls "failed" has failed, whether this process can go on.
    """
    faulthandler.enable()
    begin = time.monotonic()
    given = json.loads((folder / "given").read_text(encoding="utf-8"))
    end = begin + given["seconds"]
    with open(folder / "lines", "a", encoding="utf-8") as file:

        def tell(line: Row) -> None:
            file.write(json.dumps(line) + "\n")
            file.flush()

        cases = part.cases(given)
        tell({"cases": cases})
        for number, case in enumerate(cases[first:], first):
            left = end - time.monotonic()
            if left <= 0:
                break
            tell({"begin": number})
            say(f"  {told_case(case)} ...")
            share = left / (len(cases) - number)
            row = attempted(lambda case=case, share=share: part.measure(case, given, share))
            tell({"row": row})
            if "error" in row:
                say(f"    {row['error']}")
            if ("error" in row or row.get("failed")) and not usable(given):
                return AGAIN
    return 0


def attempted(measure: Callable[[], Row]) -> Row:
    """What it returns, or its error."""
    try:
        return measure()
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"[:ERROR]}


def failure(call: Callable[[], object]) -> str | None:
    """Call it; the error that it raised, or None."""

    def called() -> Row:
        call()
        return {}

    return attempted(called).get("error")


def told_case(case: Case) -> str:
    return ", ".join(str(value) for value in case.values())


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def rows_of(results: Row, part: str) -> Iterator[Row]:
    """The rows of a part that have been measured."""
    for row in results["parts"].get(part, {}).get("rows", []):
        if "error" not in row:
            yield row
