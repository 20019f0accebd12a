"""100 processes killed while they save a model over an older one: is the file the old one or the new one, whole?

Usage::

    python benchmarks/kill_while_saving.py
    python benchmarks/kill_while_saving.py --kills 10 --hidden-size 64
    python benchmarks/kill_while_saving.py --out     also writes benchmarks/results/kill_while_saving-….json

What is done is in tests/kill_while_saving.py, which the tests use too. Only those processes count that are killed
between the beginning and the end of a save. The file is then compared with both models, byte by byte, and loaded; so
is that of the processes that were killed too late to count. A temporary file beside it shows that the process was
killed while writing. A file that is neither, or the old one after the process had said that it was done, ends the
command with an error.

This is about a process that dies. What a machine that loses its power leaves behind cannot be tried this way.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

from lib.checkout import module_of_tests
from lib.command import finish, parser, table


def main() -> int:
    made = parser("kill_while_saving", __doc__)
    made.add_argument("--kills", type=int, default=100, help="to be counted (default: 100)")
    made.add_argument("--hidden-size", type=int, default=512, help="of the models: a large file takes longer to save")
    made.add_argument("--seed", type=int, default=0, help="of the times (default: 0)")
    options = made.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run = module_of_tests("kill_while_saving").run
        found = run(options.kills, Path(folder), options.seed, options.hidden_size, told)
    text = (
        f"{options.kills} kills during a save of {found.file_bytes / 1e6:.1f} MB that takes "
        f"{1e3 * found.seconds_to_save:.0f} ms, {found['writing']} of them while the\ntemporary file was written\n\n"
        + table(["the file afterwards", "killed while saving"], [[f"{k}, whole", found[k]] for k in ("old", "new")])
        + f"\n\n{found['late']} more had ended before they were killed: the new file, whole."
    )
    results = {"file_bytes": found.file_bytes, "seconds_to_save": found.seconds_to_save, "outcomes": dict(found)}
    finish(options, "kill_while_saving", results, text)
    return 0


def told(found: Any) -> None:
    if (found["old"] + found["new"]) % 10 == 0:
        print(dict(found), file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
