"""Files and tables to sequences: what is read is what was written, in whatever order its rows stand."""

import csv
import gzip
import io
import json
import re
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import xlstm
from xlstm import sequences, tables
from xlstm.lines import Lines
from xlstm.readers import fields
from xlstm.series import Series

from ..peers import peer

NAN = float("nan")


def written(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def same(X: Any, rows: list[Any], names: tuple[str, ...] | None = None) -> None:
    """X holds these sequences, (time_i, D)."""
    assert isinstance(X, xlstm.Sequences)
    assert X.names == names
    assert len(X) == len(rows)
    for given_row, row in zip(X, rows, strict=True):
        np.testing.assert_array_equal(given_row, np.asarray(row, dtype=float))


# ---------------------------------------------------------------- tables in long form

SENSORS = "rec,t,ax,ay,label\nb,2,1,2.5,up\na,1,3,,down\nb,1,5e-1,NA,up\na,3,7,8,down\n"


def test_a_long_table(tmp_path):
    X, y, ids = xlstm.read(written(tmp_path, "a.csv", SENSORS), id="rec", time="t")
    same(X, [[[0.5, NAN], [1, 2.5]], [[3, NAN], [7, 8]]], ("ax", "ay"))
    assert y.tolist() == ["up", "down"]
    assert ids == ["b", "a"]


def test_rows_keep_their_order_without_a_time(tmp_path):
    X, _, _ = xlstm.read(written(tmp_path, "a.csv", SENSORS), id="rec", features=["ay", "t"])
    same(X, [[[2.5, 2], [NAN, 1]], [[NAN, 1], [8, 3]]], ("ay", "t"))


@pytest.mark.parametrize(
    ("times", "passed"),
    [
        (["1", "3", "0.5"], [0, 0.5, 2]),
        (["1700000000000000001", "1700000000000000003", "1700000000000000000"], [0, 1, 2]),
        (["2024-03-01", "2024-03-02", "2024-02-29"], [0, 86400, 86400]),
        (["2024-03-01T00:00:00.25", "2024-03-01 00:01", "2024-03-01"], [0, 0.25, 59.75]),
        (["2024-03-01T00:00:00Z", "2024-03-01T02:00:30+01:00", "2024-02-29T23:59:00Z"], [0, 60, 3630]),
    ],
)
def test_the_time_since_the_step_before(tmp_path, times, passed):
    text = "id,t,v\n" + "".join(f"u,{time},{k}\n" for k, time in enumerate(times))
    X, y, _ = xlstm.read(written(tmp_path, "a.csv", text), id="id", time="t", delta="dt")
    same(X, [np.column_stack([[2, 0, 1], passed])], ("v", "dt"))
    assert y is None


@given(st.integers(0, 2**32))
def test_any_order_of_rows_and_any_ids(seed):
    """Sequences cut into rows, the rows shuffled, are the sequences again."""
    rng = np.random.default_rng(seed)
    rows = [rng.normal(size=(time, 2)) for time in (2, *rng.integers(1, 6, rng.integers(0, 6)).tolist())]
    table = [(k, step, *map(float, row[step])) for k, row in enumerate(rows) for step in range(len(row))]
    shuffled = [table[k] for k in rng.permutation(len(table))]
    columns = dict(zip(("id", "t", "a", "b"), zip(*shuffled, strict=True), strict=True))
    X, _, ids = xlstm.from_long(columns, id="id", time="t")
    assert ids == list(dict.fromkeys(columns["id"]))
    same(X, [rows[k] for k in ids], ("a", "b"))


def test_a_label_for_each_step(tmp_path):
    text = "id,t,v,tag\nu,2,1,y\nv,1,2,x\nu,1,3,x\n"
    path = written(tmp_path, "a.csv", text)
    X, y, _ = xlstm.read(path, id="id", time="t", label="tag", label_each_step=True)
    same(X, [[[3], [1]], [[2]]], ("v",))
    assert [row.tolist() for row in y] == [["x", "y"], ["x"]]


def test_tokens_with_tags(tmp_path):
    text = "sentence,word,tag\n1,The,D\n1,cat,N\n2,sits,V\n"
    X, y, ids = xlstm.read(
        written(tmp_path, "a.csv", text), id="sentence", text="word", label="tag", label_each_step=True
    )
    assert X == [["The", "cat"], ["sits"]]
    assert [row.tolist() for row in y] == [["D", "N"], ["V"]]
    assert ids == ["1", "2"]


def test_white_space_around_ids_and_labels(tmp_path):
    path = written(tmp_path, "a.csv", "PAR1,v,label\nu,1,x\n u,2, x\nw ,3,y \n")
    X, y, ids = xlstm.read(path, id="PAR1")
    same(X, [[[1], [2]], [[3]]], ("v",))
    assert (y.tolist(), ids) == (["x", "y"], ["u", "w"])


def test_ids_of_one_row_each_are_doubted(tmp_path):
    path = written(tmp_path, "a.csv", "id,a,b\nu,1,2\nv,3,4\n")
    with pytest.warns(xlstm.AmbiguousDataWarning, match="each of the 2 rows of .* has an id of its own in the column"):
        X, _, _ = xlstm.read(path, id="id")
    same(X, [[[1, 2]], [[3, 4]]], ("a", "b"))


# ---------------------------------------------------------------- wide tables and texts


def test_a_wide_table(tmp_path):
    """Empty fields at its end are no steps of a series; one inside, or one that says so, is a missing value."""
    path = written(tmp_path, "a.tsv", "t0\tlabel\tt1\tt2\n1\t7\t2\t3\n4\t8\t\t\n\t9\t5\tNaN\n6\t9\n")
    X, y, ids = xlstm.read(path)
    same(X, [[[1], [2], [3]], [[4]], [[NAN], [5], [NAN]], [[6]]])
    assert y.tolist() == [7, 8, 9, 9]
    assert y.dtype == np.int64
    assert ids is None


def test_chosen_columns_of_a_wide_table(tmp_path):
    X, y, _ = xlstm.read(written(tmp_path, "a.csv", "a,b,c,k\n1,2,3,x\n"), features=["c", "a"], label="k")
    same(X, [[[3], [1]]])
    assert y.tolist() == ["x"]


def test_texts(tmp_path):
    path = written(tmp_path, "a.csv", 'text,label\n"a, ""b""\nc",x\nyou,y\n')
    assert xlstm.read(path).X == ['a, "b"\nc', "you"]
    assert xlstm.read(path).y.tolist() == ["x", "y"]
    path = written(tmp_path, "b.csv", "review|stars\nbad|1\ngood|5\n")
    X, y, _ = xlstm.read(path, text="review", label="stars", delimiter="|")
    assert X == ["bad", "good"]
    assert y.tolist() == [1, 5]
    path = written(tmp_path, "c.csv", "text,label\na,\nb,\n")
    assert xlstm.read(path).y is None, "no row has a label"


def test_packed_from_a_pipe_and_in_another_encoding(tmp_path, monkeypatch):
    expected = xlstm.read(written(tmp_path, "a.csv", SENSORS), id="rec", time="t")
    (tmp_path / "b.csv.gz").write_bytes(gzip.compress(SENSORS.encode()))
    (tmp_path / "c.csv").write_bytes(SENSORS.encode("utf-16"))
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BufferedReader(io.BytesIO(SENSORS.encode()))))
    for path, more in (
        (tmp_path / "b.csv.gz", {}),
        (tmp_path / "c.csv", {"encoding": "utf-16"}),
        ("-", {"format": "csv"}),
    ):
        X, y, ids = xlstm.read(path, id="rec", time="t", **more)
        np.testing.assert_array_equal(X.values, expected.X.values)
        assert y.tolist() == expected.y.tolist()
        assert ids == expected.ids


@given(st.lists(st.lists(st.text("ab\n\r\",;' ", max_size=4), min_size=2, max_size=3), max_size=30), st.integers(0, 2))
def test_blocks_of_rows_are_the_rows_one_by_one(rows, blank):
    """Fields with ends of lines, blank lines and all."""
    text = tables.content([["x", "y"], *rows], ",").decode()
    text = text.replace("\r\n", "\r\n" * (blank + 1))

    def outcome(read: Callable[[tables.Table], Iterable[Any]]) -> list[Any] | str:
        """What is read; or why not, for chance makes texts whose lines look like rows."""
        with pytest.MonkeyPatch.context() as here:
            here.setattr(sys, "stdin", SimpleNamespace(buffer=io.BufferedReader(io.BytesIO(text.encode()))))
            try:
                return list(read(tables.Table(Lines("-"), {})))
            except ValueError as error:
                return str(error)

    one_by_one = outcome(lambda table: ((row.fields, row.line) for row in table.rows() if row is not None))
    together = outcome(lambda table: (pair for rows, lines in table.blocks() for pair in zip(rows, lines, strict=True)))
    assert together == one_by_one
    if isinstance(together, str):
        assert "each of which looks like a row" in together
        return
    assert [fields for fields, _ in together] == [row for row in csv.reader(io.StringIO(text, newline="")) if row][1:]


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (["1", "2"], np.array([1, 2])),
        (["1", "2.5"], np.array([1, 2.5])),
        (["007", "1"], np.array(["007", "1"])),
        (["1_0", "1"], np.array(["1_0", "1"])),
        (["nan", "1"], np.array(["nan", "1"])),
        (["a", "1"], np.array(["a", "1"])),
        (["-3", "0"], np.array([-3, 0])),
        ([str(10**30), "1"], np.array([str(10**30), "1"])),
    ],
)
def test_labels_that_are_numbers(labels, expected):
    array = fields.typed(labels)
    assert array.dtype == expected.dtype
    assert array.tolist() == expected.tolist()


@given(st.lists(st.one_of(st.floats(), st.none()), min_size=1))
def test_numbers_are_those_that_were_written(values):
    texts = ["" if value is None else repr(value) for value in values]
    expected = [NAN if value is None else value for value in values]
    np.testing.assert_array_equal(fields.numbers(texts, "a", str), expected)


# ---------------------------------------------------------------- other formats


@pytest.mark.parametrize(
    ("lines", "arguments", "expected", "names", "y"),
    [
        ([{"x": [1, 2, None], "y": "a"}, {"x": [3], "y": "b"}], {}, [[[1], [2], [NAN]], [[3]]], None, ["a", "b"]),
        ([{"series": [[1, 2], [3, 4]]}, {"series": [[5, 6]]}], {}, [[[1, 2], [3, 4]], [[5, 6]]], None, None),
        ([{"x": {"u": [1, 2], "v": [3, 4]}, "label": 0.5}], {}, [[[1, 3], [2, 4]]], ("u", "v"), [0.5]),
        ([{"u": [1, 2], "v": [3, 4], "w": 0}], {"features": ["v", "u"]}, [[[3, 1], [4, 2]]], ("v", "u"), None),
        ([{"x": [1, 2], "y": ["p"]}], {}, [[[1], [2]]], None, [["p"]]),
        ([{"id": 1, "x": 3, "y": 4}, {"id": 1, "x": 5, "y": 6}], {"id": "id"}, [[[3, 4], [5, 6]]], ("x", "y"), None),
        (
            [{"i": 1, "t": 2, "v": 3}, {"i": 1, "t": 1, "v": None}],
            {"id": "i", "time": "t"},
            [[[NAN], [3]]],
            ("v",),
            None,
        ),
    ],
)
def test_json_lines(tmp_path, lines, arguments, expected, names, y):
    path = written(tmp_path, "a.jsonl", "\n\n".join(map(json.dumps, lines)) + "\n")
    data = xlstm.read(path, **arguments)
    same(data.X, expected, names)
    assert (data.y if data.y is None else list(data.y)) == y


def test_json_lines_of_texts_and_labels_at_each_step(tmp_path):
    path = written(
        tmp_path, "a.jsonl", '{"text": "hey", "label": 1, "id": "q"}\n{"text": "you", "label": 2, "id": "r"}\n'
    )
    X, y, ids = xlstm.read(path)
    assert (X, y.tolist(), ids) == (["hey", "you"], [1, 2], ["q", "r"])
    path = written(tmp_path, "b.ndjson", '{"x": ["a", "b"], "y": ["N", "V"]}\n{"x": ["c"], "y": ["N"]}\n')
    X, y, _ = xlstm.read(path, label_each_step=True)
    assert X == [["a", "b"], ["c"]]
    assert [row.tolist() for row in y] == [["N", "V"], ["N"]]


def test_arrays(tmp_path):
    rng = np.random.default_rng(0)
    padded, steps = rng.normal(size=(2, 3, 2)).astype(np.float32), rng.normal(size=(5, 2))
    np.savez(tmp_path / "a.npz", X=padded, y=["p", "q"], lengths=[3, 1], names=["a", "b"], ids=[7, 8])
    X, y, ids = xlstm.read(tmp_path / "a.npz")
    same(X, [padded[0], padded[1, :1]], ("a", "b"))
    assert X.values.dtype == np.float32
    assert (y.tolist(), ids) == (["p", "q"], [7, 8])
    same(xlstm.read(tmp_path / "a.npz", features=["b"]).X, [padded[0, :, 1:], padded[1, :1, 1:]], ("b",))
    np.savez_compressed(tmp_path / "b.npz", X=steps, lengths=[2, 3], target=[0.5, 1.5])
    X, y, _ = xlstm.read(tmp_path / "b.npz", label="target")
    same(X, [steps[:2], steps[2:]])
    assert y.tolist() == [0.5, 1.5]
    for labels in (np.arange(5), np.array([[0, 1, -1], [2, 3, 4]])):
        np.savez(tmp_path / "c.npz", X=steps, lengths=[2, 3], y=labels)
        _, y, _ = xlstm.read(tmp_path / "c.npz", label_each_step=True)
        assert [row.tolist() for row in y] == [[0, 1], [2, 3, 4]]
    np.save(tmp_path / "d.npy", padded)
    same(xlstm.read(tmp_path / "d.npy").X, list(padded))
    same(xlstm.read(tmp_path / "d.npy", channels_first=True).X, [row.T for row in padded])
    np.save(tmp_path / "e.npy", np.array(["hey", "you"]))
    assert xlstm.read(tmp_path / "e.npy").X == ["hey", "you"]


def npy(header: str, version: int = 1, content: bytes = b"") -> bytes:
    text = header.encode()
    return b"\x93NUMPY" + bytes([version, 0]) + struct.pack("<H" if version == 1 else "<I", len(text)) + text + content


ANNOUNCED = "{'descr': '%s', 'fortran_order': False, 'shape': %s}"
BAD_ARRAYS = {
    "parentheses": (npy("(" * 9000), "NumPy cannot read it"),
    "too large": (npy(ANNOUNCED % ("<f8", "(300000000,3,2)")), r"of shape \(300000000, 3, 2\) of float64 has 144"),
    "too large, in UTF-8": (npy(ANNOUNCED % ("<f4", "(1000000000,)"), 3), "has 4000000000"),
    "beyond all numbers": (npy(ANNOUNCED % ("<f8", f"({10**30},)")), "NumPy cannot read it"),
    "strings of no letters": (npy(ANNOUNCED % ("<U0", "(1000000000000,)")), "has 0 bytes"),
    "an unknown type": (npy(ANNOUNCED % ("<q9z", "(1,)")), "NumPy cannot read it"),
}


@pytest.mark.parametrize("case", BAD_ARRAYS)
def test_arrays_that_announce_more_than_there_is_are_refused_by_path(tmp_path, case):
    content, message = BAD_ARRAYS[case]
    (tmp_path / "a.npy").write_bytes(content)
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("X.npy", content)
    for name in ("a.npy", "a.npz"):
        with pytest.raises(ValueError, match=rf"{re.escape(str(tmp_path / name))} is damaged.*{message}"):
            xlstm.read(tmp_path / name)


def test_what_is_no_array_in_an_archive_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("X.npy", "no array")
    with pytest.raises(ValueError, match=r"a\.npz is damaged"):
        xlstm.read(tmp_path / "a.npz")


def test_the_format_of_the_archives(tmp_path):
    head = "# a comment\n@problemName p\n@univariate false\n@missing true\n"
    path = written(tmp_path, "a.ts", head + "@classLabel true 1 b\n@data\n1,2,?:3,NaN,4:b\n5:6:1\n\n")
    X, y, ids = xlstm.read(path)
    same(X, [[[1, 3], [2, NAN], [NAN, 4]], [[5, 6]]])
    assert y.tolist() == ["b", "1"]
    assert ids is None
    path = written(tmp_path, "b.ts", head + "@classLabel false\n@targetlabel true\n@data\n1,2:0.5\n3:-1e-2\n")
    assert xlstm.read(path).y.tolist() == [0.5, -0.01]
    path = written(tmp_path, "c.ts", "@classLabel false\n@data\n1,2:3,4\n")
    X, y, _ = xlstm.read(path)
    same(X, [[[1, 3], [2, 4]]])
    assert y is None


def test_parquet(tmp_path):
    arrow = peer("pyarrow")
    parquet = peer("pyarrow.parquet")

    def at(name: str, table: dict[str, Any]) -> Path:
        parquet.write_table(arrow.table(table), tmp_path / name)
        return tmp_path / name

    path = at("a.parquet", {"id": ["v", "u", "v"], "t": [2, 1, 1], "a": [1, None, 3], "label": ["x", "y", "x"]})
    X, y, ids = xlstm.read(path, id="id", time="t")
    same(X, [[[3], [1]], [[NAN]]], ("a",))
    assert (y.tolist(), ids) == (["x", "y"], ["v", "u"])
    path = at("b.parquet", {"u": [[1.0, 2.0], [3.0]], "v": [[4, None], [6]], "label": [0, 1]})
    X, y, _ = xlstm.read(path)
    same(X, [[[1, 4], [2, NAN]], [[3, 6]]], ("u", "v"))
    assert y.tolist() == [0, 1]
    path = at("c.parquet", {"u": [[1.0, 2.0], [3.0]], "tags": [["N", "V"], ["N"]]})
    _, y, _ = xlstm.read(path, features=["u"], label="tags", label_each_step=True)
    assert [row.tolist() for row in y] == [["N", "V"], ["N"]]
    path = at("d.parquet", {"t0": [1.0, 3.0], "t1": [2.0, None], "label": ["p", "q"]})
    same(xlstm.read(path).X, [[[1], [2]], [[3]]])
    path = at("e.parquet", {"text": ["hey", "you"]})
    assert xlstm.read(path).X == ["hey", "you"]
    (tmp_path / "f.parquet").write_bytes(b"PAR1 and no more PAR1")
    with pytest.raises(ValueError, match=r"f\.parquet is damaged, pyarrow cannot read it \(.*\)\."):
        xlstm.read(tmp_path / "f.parquet")


def test_parquet_without_pyarrow_says_how_to_install_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    with pytest.raises(ImportError, match=r"which is not installed: pip install 'xp-lstm\[parquet\]'\."):
        xlstm.read(tmp_path / "a.parquet")


# ---------------------------------------------------------------- frames and arrays of lists

COLUMNS = {
    "id": ["b", "a", "b"],
    "t": np.array(["2024-01-02", "2024-01-01", "2024-01-01"], "M8[ns]"),
    "x": [1.0, None, 3.0],
    "label": ["u", "v", "u"],
}


def zoned(table: dict[str, Any]) -> Any:
    frame = peer("pandas").DataFrame(table)
    return frame.assign(
        t=frame.t.dt.tz_localize("UTC"), x=frame.x.astype("Float64"), label=frame.label.astype("category")
    )


@pytest.mark.parametrize(
    "made",
    [
        dict,
        zoned,
        lambda table: peer("pandas").DataFrame(table),
        lambda table: peer("polars").DataFrame(table),
        lambda table: peer("pyarrow").table(table),
    ],
    ids=["mapping", "pandas with its own types", "pandas", "polars", "pyarrow"],
)
def test_frames(made):
    X, y, ids = xlstm.from_long(made(COLUMNS), id="id", time="t", delta="dt")
    same(X, [[[3, 0], [1, 86400]], [[NAN, 0]]], ("x", "dt"))
    assert (y.tolist(), ids) == (["u", "v"], ["b", "a"])


def test_columns_of_single_precision_stay_so():
    X, _, _ = xlstm.from_long({"id": [1, 1], "a": np.ones(2, np.float32)}, id="id")
    assert X.values.dtype == np.float32


def test_frames_in_a_list_are_matched_by_name():
    frame = peer("pandas").DataFrame({"a": [1.0, 2.0], "b": [3.0, 4.0]})
    read = sequences.read([frame, frame[["b", "a"]]])
    np.testing.assert_array_equal(read.values[:2], read.values[2:])


LISTS = [[1.0, 2.0], [3.0, None, 5.0]]
RECORDS = [[{"a": 1, "b": 2.0}], [{"a": 3, "b": 4.0}, {"a": 5, "b": 6.0}]]
STEPS = [[[1.0, 2.0], [3.0, 4.0]], [[5.0, 6.0]]]
FIELDS = [{"a": [1.0, 2.0], "b": [3.0, 4.0]}, {"a": [5.0], "b": [6.0]}]
NESTED = {
    "fields": (FIELDS, [[[1, 3], [2, 4]], [[5, 6]]], ("a", "b")),
    "lists": (LISTS, [[[1], [2]], [[3], [NAN], [5]]], None),
    "records": (RECORDS, [[[1, 2]], [[3, 4], [5, 6]]], ("a", "b")),
    "steps": (STEPS, STEPS, None),
}


@pytest.mark.parametrize("name", NESTED)
@pytest.mark.parametrize(("library", "make"), [("pyarrow", "array"), ("polars", "Series"), ("awkward", "Array")])
def test_arrays_of_lists(library, make, name):
    lists, expected, names = NESTED[name]
    array = getattr(peer(library), make)(lists)
    same(xlstm.Sequences.of(array), expected, names)
    same(xlstm.Sequences.of(array[1:]), expected[1:], names)


def test_other_arrays_of_lists():
    arrow, polars = peer("pyarrow"), peer("polars")
    expected = [[[1], [2]], [[3], [4]]]
    same(xlstm.Sequences.of(arrow.array([[1, 2], [3, 4]], arrow.list_(arrow.int64(), 2))), expected)
    same(xlstm.Sequences.of(arrow.chunked_array([[[1, 2]], [[3, 4]]])), expected)
    same(xlstm.Sequences.of(polars.Series([[1, 2], [3, 4]], dtype=polars.Array(polars.Int64, 2))), expected)
    same(xlstm.Sequences.of([[1, 2], np.array([3.0, 4.0])]), expected)
    kept = arrow.array([[1.0, 2.0], [3.0]])
    assert np.shares_memory(xlstm.Sequences.of(kept).values, kept.values.to_numpy()), "its own buffer"


def test_estimators_take_arrays_of_lists_and_of_texts():
    arrow = peer("pyarrow")
    for array, rows in (
        (arrow.array([[1.0, 2.0], [3.0]]), [[1.0, 2.0], [3.0]]),
        (arrow.array([["a", "b"], ["c"]]), [["a", "b"], ["c"]]),
        (arrow.array(["ab", "c"]), ["ab", "c"]),
    ):
        read, expected = sequences.read(array), sequences.read(rows)
        np.testing.assert_array_equal(read.lengths, expected.lengths)
        found, wanted = (data.values if isinstance(data, Series) else data.tokens for data in (read, expected))
        np.testing.assert_array_equal(np.asarray(found), np.asarray(wanted))


def test_nothing_heavy_is_imported_for_it(tmp_path):
    path = written(tmp_path, "a.csv", SENSORS)
    code = (
        f"import sys, xlstm; xlstm.read({str(path)!r}, id='rec', time='t');"
        "xlstm.from_long({'id': [1], 'a': [2.0]}, id='id');"
        "print([name for name in ('pandas', 'polars', 'pyarrow', 'awkward', 'sklearn') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("mark", ["NA", "?", "null", "None"])
def test_labels_that_say_that_there_is_none_are_doubted(mark):
    table = {"id": ["u", "u", "v", "w"], "x": [1.0, 2.0, 3.0, 4.0], "label": ["on", "on", "off", mark]}
    with pytest.warns(
        xlstm.AmbiguousDataWarning, match=rf"row 3 of the dict has the label '{re.escape(mark)}' .*1 row"
    ):
        y = xlstm.from_long(table, id="id").y
    assert y.tolist() == ["on", "off", mark]
