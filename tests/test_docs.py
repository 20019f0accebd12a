"""The pages of docs/ and the README: every python block runs, and an output block is what the block above it prints."""

import contextlib
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from .peers import peer

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
CHAPTERS = sorted((ROOT / "docs").glob("*.md"))
PAGES = [page for page in (README, *CHAPTERS) if page.exists()]

# Only python is run, and output compared; the others are for reading.
LANGUAGES = {
    "python",
    "output",
    "text",
    "console",
    "bash",
    "sh",
    "powershell",
    "diff",
    "toml",
    "yaml",
    "json",
    "csv",
    "javascript",
}
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class Block(NamedTuple):
    """One fenced block of a page."""

    language: str
    text: str
    line: int  # of its first line in the page, counted from 0


def blocks_of(page: str) -> list[Block]:
    """All fenced blocks of a page, in their order."""
    return [Block(match[1], match[2], page.count("\n", 0, match.start(2))) for match in FENCE.finditer(page)]


APART = ("aeon", "sktime")
"""Libraries too heavy for the extra dev, the first of which needs an older NumPy. What imports one is run by itself."""


def library_of(block: Block) -> str | None:
    """The library of these that a block imports."""
    return next((name for name in APART if re.search(rf"^(import|from) {name}\b", block.text, re.MULTILINE)), None)


def run_page(page: str, name: str, library: str | None = None) -> None:
    """Run a page's python blocks, in one namespace; compare what each prints with the output block that follows it.

    Those that import a library of `APART` are run for that library alone, and for None all others.
    """
    namespace: dict[str, Any] = {"__name__": "__main__"}
    blocks = blocks_of(page)
    for block, following in zip(blocks, [*blocks, Block("", "", 0)][1:], strict=True):
        if block.language == "python" and library_of(block) == library:
            # The empty lines in front make a traceback name the line of the page.
            code = compile("\n" * block.line + block.text, name, "exec")
            printed = io.StringIO()
            with contextlib.redirect_stdout(printed):
                exec(code, namespace)
            if following.language == "output":
                assert printed.getvalue() == following.text, f"{name}, line {following.line}"


@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning:keras")
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_page_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("XLSTM_DEVICE", raising=False)
    text = page.read_text(encoding="utf-8")
    if "xlstm.plots" in text:
        peer("matplotlib")
    if "import pandas" in text:
        peer("pandas"), peer("sklearn")
    if "import onnxruntime" in text:
        peer("onnx"), peer("onnxruntime")
    if "from fastapi" in text:
        peer("fastapi"), peer("httpx")
    if "import keras" in text:
        monkeypatch.setenv("KERAS_BACKEND", os.environ.get("KERAS_BACKEND", "torch"))  # it is read at the first import
        peer("torch"), peer("keras")
    run_page(text, str(page))


@pytest.mark.filterwarnings("default")  # these libraries warn of themselves
@pytest.mark.parametrize("library", APART)
def test_what_needs_a_library_that_is_rarely_there_runs(library: str, tmp_path: Path, monkeypatch: Any) -> None:
    pytest.importorskip(library, exc_type=ImportError)
    monkeypatch.chdir(tmp_path)
    pages = [page for page in PAGES if any(library_of(b) == library for b in blocks_of(page.read_text("utf-8")))]
    assert pages
    for page in pages:
        run_page(page.read_text(encoding="utf-8"), str(page), library)


def test_the_pages_are_there() -> None:
    assert {
        "command-line.md",
        "data.md",
        "many-to-one.md",
        "own-loop.md",
        "performance.md",
        "devices.md",
        "exchange.md",
        "training.md",
    } <= {page.name for page in CHAPTERS}


def test_the_table_of_learning_is_that_of_the_results() -> None:
    command = [sys.executable, str(ROOT / "benchmarks" / "learning_table.py")]
    printed = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", check=True, timeout=120).stdout
    assert printed in README.read_text(encoding="utf-8"), "print it again: python benchmarks/learning_table.py"


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "benchmarks" / "README.md"], ids=str)
def test_links_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8"))
    gone = [target for target in targets if "://" not in target and not (page.parent / target).exists()]
    assert not gone


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_fence_is_understood(page: Path) -> None:
    # A block of an unknown language, or an indented or odd fence, would silently not be run.
    text = page.read_text(encoding="utf-8")
    blocks = blocks_of(text)
    fences = sum(line.lstrip().startswith("```") for line in text.splitlines())
    assert fences == 2 * len(blocks), "a fence is indented, not closed, or has more than one word after it"
    for before, block in zip([Block("", "", 0), *blocks], blocks, strict=False):
        where = f"{page.name}, line {block.line}"
        assert block.language in LANGUAGES, where
        assert block.language != "output" or before.language == "python", f"{where}: output of what?"


def test_blocks_share_a_namespace_and_run_in_order() -> None:
    run_page("```python\na = 1\n```\n\n```text\na = 2\n```\n\n```python\nprint(a)\n```\n\n```output\n1\n```\n", "page")


def test_a_failing_block_fails_with_the_line_of_the_page() -> None:
    with pytest.raises(ZeroDivisionError) as raised:
        run_page("# Title\n\n```python\nx = 0\n1 / x\n```\n", "page")
    assert raised.traceback[-1].lineno == 5 - 1  # pytest counts from 0


def test_an_untrue_output_block_fails() -> None:
    with pytest.raises(AssertionError):
        run_page("```python\nprint(1)\n```\n\n```output\n2\n```\n", "page")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_place_is_left_to_fill_in(page: Path) -> None:
    assert "@@" not in page.read_text(encoding="utf-8")


@pytest.mark.skipif(os.name != "posix", reason="the commands are those of a POSIX shell")
def test_the_readme_commands_for_texts_run(tmp_path: Path) -> None:
    """The block that makes a small file, trains on it, measures and predicts: all of it, in an empty folder."""
    (block,) = [b for b in blocks_of((ROOT / "README.md").read_text(encoding="utf-8")) if "reviews.csv" in b.text]
    run = in_a_shell(re.sub(r"^\$ ", "", block.text, flags=re.MULTILINE), tmp_path)
    assert run.returncode == 0, run.stderr
    lines = run.stdout.splitlines()
    assert lines[0].startswith("accuracy 1.0000, balanced 1.0000, on 10 held-out texts (reviews.held-out.csv)")
    assert "accuracy 1.0000, balanced 1.0000, on 10 texts" in lines
    assert [json.loads(line)["label"] for line in lines[-2:]] == ["yes", "no"]


@pytest.mark.skipif(os.name != "posix", reason="the commands are those of a POSIX shell")
def test_the_commands_of_the_page_about_the_command_line_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of them, one after another, beside the files that the page's python blocks write."""
    monkeypatch.chdir(tmp_path)
    page = (ROOT / "docs" / "command-line.md").read_text(encoding="utf-8")
    run_page(page, "command-line.md")
    commands = "".join(block.text for block in blocks_of(page) if block.language == "console")
    run = in_a_shell(re.sub(r"^\$ ", "", commands, flags=re.MULTILINE), tmp_path)
    assert run.returncode == 0, run.stderr
    assert re.search(r"accuracy (0\.[6-9]|1)", run.stdout), run.stdout
    assert "series of 2 features, in this order: speed, load" in run.stdout
    assert "id,label,probability,note\nr0," in run.stdout
    assert re.search(r'{"id": "0", "value": -?[0-9.]+}', run.stdout)
    assert re.search(r"^0,1,(warm|cold),0.", run.stdout, re.MULTILINE)
    assert len((tmp_path / "answers.csv").read_text().splitlines()) == 301


def in_a_shell(script: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run in this folder; `python` and `xlstm` are those of this interpreter, whether its scripts are on the path."""
    prelude = f'python() {{ "{sys.executable}" "$@"; }}\nxlstm() {{ python -m xlstm "$@"; }}\nset -eu\n'
    return subprocess.run(
        ["sh", "-c", prelude + script], cwd=folder, capture_output=True, text=True, timeout=300, check=False
    )


@pytest.mark.skipif(os.name != "posix", reason="the command is that of a POSIX shell")
def test_the_command_of_the_page_on_data_runs(tmp_path: Path) -> None:
    """On the table that the page's first block writes."""
    blocks = blocks_of((ROOT / "docs" / "data.md").read_text(encoding="utf-8"))
    peer("pandas")
    (made,) = [block.text for block in blocks if "to_csv" in block.text]
    (command,) = [block.text.removeprefix("$ xlstm ") for block in blocks if block.language == "console"]
    script = f'"{sys.executable}" -c "$1" && "{sys.executable}" -m xlstm {command}'
    run = subprocess.run(
        ["sh", "-c", script, "sh", made], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
    )
    assert run.returncode == 0, run.stderr
    accuracy = re.match(r"accuracy ([01]\.\d+), .* on 60 held-out sequences", run.stdout)
    assert accuracy, run.stdout
    assert float(accuracy[1]) > 0.9


def test_the_prose_of_the_page_about_devices_fits_the_page() -> None:
    """A table's rows, and what a program wrote, are as wide as they are."""
    page = (ROOT / "docs" / "devices.md").read_text(encoding="utf-8")
    prose = "\n".join(re.split(r"^<!-- .*?: made by .*?^<!-- end of .*?-->", page, flags=re.DOTALL | re.MULTILINE))
    prose = re.sub(r"^```.*?^```", "", prose, flags=re.DOTALL | re.MULTILINE)
    wide = [line for line in prose.splitlines() if len(line) > 128 and not line.startswith("|")]
    assert not wide, wide
