"""A command of the command line, as tests call it: in an empty folder, and what it left behind."""

import csv
import io
import json
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

from xlstm import cli


class Done(NamedTuple):
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one object on the one line of stdout."""
        assert self.code == 0, self.err
        assert self.out.count("\n") == 1, self.out
        assert self.out.endswith("\n")
        return json.loads(self.out, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))


def call(monkeypatch: Any, capsys: Any) -> Callable[..., Done]:
    """What runs a command with these arguments, and what comes to it by standard input."""

    def command(*arguments: Any, stdin: str | bytes = "") -> Done:
        content = stdin if isinstance(stdin, bytes) else stdin.encode()
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(io.BytesIO(content)), encoding="utf-8"))
        capsys.readouterr()
        try:
            code = cli.main([str(argument) for argument in arguments])
        except SystemExit as stop:  # argparse ends a wrong call itself
            code = stop.code
        return Done(int(code or 0), *capsys.readouterr())

    return command


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """A command in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("XLSTM_DEVICE", raising=False)
    return call(monkeypatch, capsys)


def write_rows(name: str, header: Any, rows: Any, delimiter: str = ",") -> str:
    """A table with these names of columns; between tabs nothing is quoted."""
    with open(name, "w", encoding="utf-8", newline="") as file:
        if delimiter == "\t":
            for row in map(list, [header, *rows]):
                assert not any(set(str(field)) & set("\t\r\n") for field in row), row
                file.write("\t".join(map(str, row)) + "\r\n")
        else:
            csv.writer(file, delimiter=delimiter).writerows([header, *rows])
    return name
