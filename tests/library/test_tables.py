"""Lines and tables, as they come: the same as Python's own readers give, however the bytes are cut."""

import csv
import gzip
import io
import os
import sys
import threading
from types import SimpleNamespace
from typing import Any

import pytest

import xlstm
from xlstm import tables
from xlstm.lines import Lines

TEXT = 'text,label,id\r\n"a, ""b""\r\nc",x,1\nü€𝄞,y,2\r\r\n\n"",z\n  spaced ,"w",4,5\nlast,v,6'


class Drops(io.RawIOBase):
    """A pipe that gives so many bytes at a time."""

    def __init__(self, content: bytes, size: int) -> None:
        self.content, self.size = content, size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        size = min(self.size, len(buffer))
        part, self.content = self.content[:size], self.content[size:]
        buffer[: len(part)] = part
        return len(part)


@pytest.fixture
def stdin(monkeypatch):
    def put(content: bytes, size: int = 1 << 16) -> None:
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BufferedReader(Drops(content, size), 16)))

    return put


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1 << 16])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-16-le", "utf-8-sig"])
def test_lines_are_those_of_open(tmp_path, stdin, encoding, size):
    file = tmp_path / "file"
    file.write_bytes(TEXT.encode(encoding))
    with open(file, encoding=encoding, newline="") as right:
        expected = list(right)
    stdin(TEXT.encode(encoding), size)
    given = "utf-8" if encoding == "utf-8-sig" else encoding  # a byte order mark is left out without being told
    for source in ("-", str(file)):
        with Lines(source, given) as lines:
            assert [(line, lines.count) for line in lines] == [(line, k) for k, line in enumerate(expected, start=1)]


@pytest.mark.parametrize("size", [1, 5, 1 << 16])
def test_rows_are_those_of_csv(stdin, size):
    header, *expected = [row for row in csv.reader(io.StringIO(TEXT, newline="")) if row]
    stdin(TEXT.encode(), size)
    with Lines("-") as lines:
        table = tables.Table(lines, {"--text": "text"})
        rows = [row for row in table.rows() if row is not None]
    assert table.columns == header
    assert [row.fields for row in rows] == expected
    assert [row.number for row in rows] == [1, 2, 3, 4, 5]
    assert [row.line for row in rows] == [3, 4, 7, 8, 9]
    assert [table.value(row, "id") for row in rows] == ["1", "2", "", "4", "6"]
    assert [table.excess(row) is None for row in rows] == [True, True, True, False, True]


@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r"])
def test_a_header_may_stand_in_two_lines(stdin, ends):
    stdin(f'"te{ends}xt";"a;b"{ends}x;y{ends}'.encode())
    with Lines("-") as lines:
        table = tables.Table(lines, {"--text": f"te{ends}xt"}, None, [";"])
        assert (table.columns, table.delimiter) == ([f"te{ends}xt", "a;b"], ";")
        assert list(table.rows()) == [tables.Row(1, 3, ["x", "y"])]


@pytest.mark.parametrize("name", ["data.csv", "data.csv.gz"])
@pytest.mark.parametrize("members", [1, 3])
def test_gzip_is_known_by_its_first_bytes(tmp_path, stdin, name, members):
    packed = gzip.compress(TEXT.encode()) + b"".join(gzip.compress(b"\nmore") for _ in range(members - 1))
    expected = TEXT + "\nmore" * (members - 1)
    (tmp_path / name).write_bytes(packed)
    stdin(packed, 10)
    for source in (str(tmp_path / name), "-"):
        with Lines(source) as lines:
            assert "".join(lines) == expected


@pytest.mark.parametrize(
    "damage", [lambda c: c[:-4], lambda c: c[:40], lambda c: c[:-8] + bytes(8), lambda c: c + b"x"]
)
def test_damaged_gzip_is_a_value_error(tmp_path, damage):
    (tmp_path / "data.gz").write_bytes(damage(gzip.compress(os.urandom(100).hex().encode() + b"\n")))
    with pytest.raises(ValueError, match="damaged"), Lines(str(tmp_path / "data.gz")) as lines:
        list(lines)


@pytest.mark.parametrize("size", [1, 3, 1 << 16])
@pytest.mark.parametrize(("before", "line"), [("", 1), ("a\n", 2), ("a\r\nü\n\nb", 4)])
def test_the_line_of_a_wrong_byte_is_named(stdin, size, before, line):
    stdin(before.encode() + b"caf\xe9 au lait\nmore\n", size)
    with pytest.raises(ValueError, match=rf"standard input is not UTF-8 text: byte 0xe9 in line {line}:.*--encoding"):
        list(Lines("-"))


def test_a_line_without_an_end_is_refused(monkeypatch, stdin):
    monkeypatch.setattr("xlstm.lines.LONGEST_LINE", 200)
    stdin(b"first\n" + b"x" * 190 + b"\nshort\n" + b"\0" * 1000, 40)
    message = "line 4 of standard input has more than 200 characters, and no end"
    with Lines("-") as lines, pytest.raises(ValueError, match=message):
        list(lines)


def test_lines_are_ready_when_they_are_here(monkeypatch):
    """A reader never waits for more than it needs."""
    get, put = os.pipe()
    with open(get, "rb") as reader, open(put, "wb", buffering=0) as writer:
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=reader))
        writer.write(b"one\ntwo\nthr")
        lines = Lines("-")
        assert not lines.ready()
        assert (next(lines), lines.ready(), next(lines), lines.ready()) == ("one\n", True, "two\n", False)
        threading.Timer(0.05, lambda: (writer.write(b"ee\n"), writer.close())).start()
        assert (next(lines), lines.ready()) == ("three\n", False)
        assert next(lines, None) is None
        assert lines.ready()


@pytest.mark.parametrize("size", [1, 3, 1 << 16])
def test_lines_that_are_here(stdin, size):
    content = "a\r\nbc\n\nd\re" * 30
    stdin(content.encode(), size)
    lines, found = Lines("-"), []
    while here := lines.here():
        found += here
        assert lines.count == len(found)
    assert found == list(io.StringIO(content, newline=""))
    assert next(lines, None) is None


def test_what_is_here_together_comes_together():
    ready = iter([True, False, True, False, True, True])
    items = [None, 1, 2, 3, None, 4, 5]
    assert list(tables.together(items, lambda: next(ready))) == [[1, 2], [3], [4, 5]]
    assert list(tables.together([], lambda: True)) == []


def test_there_may_be_no_standard_input(monkeypatch):
    monkeypatch.setattr(sys, "stdin", None)
    assert list(Lines("-")) == []
    monkeypatch.setattr(sys, "stdin", io.StringIO("ü\nb"))  # without bytes
    assert list(Lines("-")) == ["ü\n", "b"]


@pytest.mark.parametrize("delimiter", [",", "\t", ";"])
def test_what_is_written_is_read_again(tmp_path, delimiter):
    odd = ['"c,d;e"f', '"'] if delimiter == "\t" else ["c,d;e\tf", "g\r\nh\ri\n"]
    rows = [["te xt", "label", ""], ['a"b', *odd], ["", "ü", " "], ["short"]]
    (tmp_path / "file.csv").write_bytes(tables.content(rows, delimiter))
    with Lines(str(tmp_path / "file.csv")) as lines:
        table = tables.Table(lines, {"--text": "te xt"}, delimiter)
        assert [table.columns, *(row.fields for row in table.rows())] == rows


# ---------------------------------------------------------------- quotation marks, blank and long lines


@pytest.mark.parametrize(
    ("rows", "opens", "how"),
    [
        (['a,"b', "c,d", "e,f"], 2, "is never closed"),
        (["x,y", '"a,b', "c,d", '"e,f'], 3, "is closed in line 5, before more text"),
        (["x,y", 'k,"l"m'], 3, "is closed in line 3, before more text"),
    ],
)
def test_quotation_marks_that_swallow_rows(tmp_path, rows, opens, how):
    path = tmp_path / "t.csv"
    path.write_text("\n".join(["text,label", *rows]) + "\n", encoding="utf-8")
    with Lines(str(path)) as lines:
        table = tables.Table(lines, {"--text": "text", "--label": "label"})
        with pytest.raises(ValueError, match=rf"the quotation mark that opens in line {opens} {how}"):
            list(table.rows())


def rows_of(content, path, **how):
    """All rows, one by one, and in blocks."""
    path.write_bytes(content.encode())
    with Lines(str(path)) as lines:
        one = [row.fields for row in tables.Table(lines, {"--text": "text"}, **how).rows() if row is not None]
    with Lines(str(path)) as lines:
        blocks = [row for block, _ in tables.Table(lines, {"--text": "text"}, **how).blocks() for row in block]
    assert one == blocks
    return one


PLAIN = [f"text number {k},{'ab'[k % 2]}" for k in range(20)]


def with_lone_marks(first, second):
    """20 rows, of which two have a text with a lone quotation mark."""
    return "\n".join(["text,label", *PLAIN[:4], first, *PLAIN[5:10], second, *PLAIN[11:]]) + "\n"


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        ('"hello,a', '"bye,b', "opens in line 6 is closed in line 12, before more text"),
        ('"hello,a', '5",b', "opens in line 6 swallows the lines up to 12"),
        ('",a', '",b', "opens in line 6 swallows the lines up to 12"),
        ('"""hello,a', 'he said """,b', "opens in line 6 swallows the lines up to 12"),
    ],
)
@pytest.mark.parametrize("ends", ["\n", "\r\n"])
def test_rows_are_not_swallowed_between_two_texts_with_a_lone_quotation_mark(tmp_path, first, second, message, ends):
    content = with_lone_marks(first, second).replace("\n", ends)
    with pytest.raises(ValueError, match=rf"the quotation mark that {message}"):
        rows_of(content, tmp_path / "t.csv")


def test_rows_that_are_swallowed_before_anything_is_known_of_others(tmp_path):
    rows = ['"hello,a', *PLAIN[1:5], '5",b', *PLAIN[6:]]
    with pytest.raises(ValueError, match="opens in line 2 swallows the lines up to 7"):
        rows_of("\n".join(["text,label", *rows]), tmp_path / "t.csv")


def test_rows_that_are_swallowed_are_seen_by_numbers_and_by_ends_of_lines_in_several_fields(tmp_path):
    numbered = ["id,text", *(f"{k},a text {k}" for k in range(10)), '10,"', "11,z", '12,5"', "13,y"]
    with pytest.raises(ValueError, match="opens in line 12 swallows the lines up to 14"):
        rows_of("\n".join(numbered), tmp_path / "t.csv")
    several = ["id,text,label,more", '1,"hi,a,z', '2,x",b,"oh', '3,y,c,6"']
    with pytest.raises(ValueError, match="opens in line 2 swallows the lines up to 4"):
        rows_of("\n".join(several), tmp_path / "t.csv")


@pytest.mark.parametrize(
    "text",
    ["Hi, John\nbye", "Dear John,\nthanks, bye", "a\nb", "one, two\r\nthree, four\r\nfive, six", '"\n"'],
)
def test_texts_of_several_lines_are_texts(tmp_path, text):
    expected = [[f"text number {k}", "ab"[k % 2]] for k in range(20)]
    expected[7][0] = expected[12][0] = text
    content = tables.content([["text", "label"], *expected], ",").decode()
    assert rows_of(content, tmp_path / "t.csv") == expected


@pytest.mark.parametrize("text", ["1,2\n3,4", "size 3, 40 EUR\n2, blue", "1,2\r\n3,4\r\n5,6", 'a, "b"\n12, 13'])
@pytest.mark.parametrize("first", [0, 7])
def test_lines_of_a_text_that_would_be_rows_of_another_label_are_a_text(tmp_path, text, first):
    expected = [[str(k), f"text number {k}", ("good", "bad")[k % 2]] for k in range(20)]
    expected[first][1] = expected[12][1] = text
    content = tables.content([["id", "text", "label"], *expected], ",").decode()
    assert rows_of(content, tmp_path / "t.csv") == expected


def test_empty_fields_do_not_make_rows_of_the_lines_of_a_text(tmp_path):
    expected = [["ab", "good"], *[[f"text {k}", ""] for k in range(9)], ["sender,\nreceiver", ""]]
    content = tables.content([["text", "label"], *expected], ",").decode()
    assert rows_of(content, tmp_path / "t.csv") == expected


def test_rows_that_are_swallowed_are_seen_by_numbers_of_which_some_are_missing(tmp_path):
    numbered = ["score,text", *(f"{k or ''},a text {k}" for k in range(10)), '10,"', "11,z", '12,5"', "13,y"]
    with pytest.raises(ValueError, match="opens in line 12 swallows the lines up to 14"):
        rows_of("\n".join(numbered), tmp_path / "t.csv")


def test_rows_that_are_swallowed_are_seen_where_one_of_their_labels_is_that_of_no_other(tmp_path):
    content = with_lone_marks('"hello,a', '5",b').replace("text number 7,b", "text number 7,c")
    with pytest.raises(ValueError, match="opens in line 6 swallows the lines up to 12"):
        rows_of(content, tmp_path / "t.csv")


def test_between_tabs_a_quotation_mark_is_part_of_a_field(tmp_path):
    expected = [[f"text {k}", "ab"[k % 2]] for k in range(20)]
    for k, text in enumerate(['"', '"hello', '5"', '"all"', 'a "b" c', '""']):
        expected[3 * k][0] = text
    content = "".join("\t".join(row) + "\n" for row in [["text", "label"], *expected])
    assert rows_of(content, tmp_path / "t.tsv") == expected
    assert rows_of(content, tmp_path / "t.csv", delimiter="\t") == expected
    assert rows_of(tables.content([["text", "label"], *expected], "\t").decode(), tmp_path / "t.tsv") == expected


def test_a_table_of_tabs_whose_columns_stand_in_quotation_marks_is_refused(tmp_path):
    """As R writes it by default."""
    with pytest.raises(ValueError, match=r"columns in quotation marks.*quote=FALSE in R"):
        rows_of('"text"\t"label"\n"a"\t"b"\n', tmp_path / "t.tsv")


@pytest.mark.parametrize("blank", ["", "\n"])  # row by row, too
def test_fields_between_tabs_that_were_written_as_csv_are_told_of_once(tmp_path, blank):
    rows = [["plain", "a"], ['he said "hi"', "b"], ['"', "a"]]
    text = io.StringIO()
    csv.writer(text, delimiter="\t", lineterminator="\n").writerows([["text", "label"], *rows])
    path = tmp_path / "t.tsv"
    path.write_text(text.getvalue() + blank, encoding="utf-8")
    for read in (lambda table: list(table.rows()), lambda table: list(table.blocks())):
        with (
            Lines(str(path)) as lines,
            pytest.warns(xlstm.AmbiguousDataWarning, match=r"line 3 .*QUOTE_NONE") as w,
        ):
            read(tables.Table(lines, {"--text": "text"}))
        assert len(w) == 1


def test_quotation_marks_that_are_right(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text('text,label\n"a, ""b""\nc",d\n5" nails,e\n', encoding="utf-8")
    with Lines(str(path)) as lines:
        table = tables.Table(lines, {"--text": "text", "--label": "label"})
        assert [row.fields for row in table.rows()] == [['a, "b"\nc', "d"], ['5" nails', "e"]]


def test_a_blank_line_is_a_row_of_a_table_of_one_column(tmp_path):
    for content, expected in (
        ("text\na\n\nb\n", [["a"], [""], ["b"]]),
        ("text,x\na,1\n\nb,2\n", [["a", "1"], ["b", "2"]]),
    ):
        path = tmp_path / "t.csv"
        path.write_text(content, encoding="utf-8")
        with Lines(str(path)) as lines:
            table = tables.Table(lines, {"--text": "text"})
            assert [row.fields for row in table.rows() if row is not None] == expected


def test_a_long_line_is_read_in_one_go(tmp_path):
    """Its pieces are joined once: 32 MB took half a minute when each chunk joined them again."""
    path = tmp_path / "t.txt"
    path.write_text("x" * 32_000_000 + "\nlast", encoding="utf-8")
    with Lines(str(path)) as lines:
        assert [len(line) for line in lines] == [32_000_001, 4]
