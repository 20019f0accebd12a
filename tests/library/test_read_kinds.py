"""Ids, labels and times are what is written there: in texts and in sources with types, whole and in blocks."""

import json
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import xlstm
from xlstm.readers import fields
from xlstm.readers.columns import Asked

from ..peers import peer


def write(path: Path, *rows: Any) -> str:
    lines = (row if isinstance(row, str) else json.dumps(row) for row in rows)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(path)


# ---------------------------------------------------------------- what stays a text


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (["1.10", "1.1"], ["1.10", "1.1"]),
        (["1.10", "2"], ["1.10", "2"]),
        (["1", "1.0"], ["1", "1.0"]),
        (["-0", "0"], ["-0", "0"]),
        (["1e3", "2"], ["1e3", "2"]),
        (["9007199254740993", "0.5"], ["9007199254740993", "0.5"]),
        (["0.5", "1e-05", "-2"], [0.5, 1e-5, -2]),
    ],
)
def test_labels_are_numbers_only_where_these_give_them_back(labels, expected):
    assert fields.typed(labels).tolist() == expected


def test_ids_of_a_table_stay_as_they_are_written(tmp_path):
    path = write(tmp_path / "a.csv", "id,v,label", "1.10,1,1.10", " 1.10 ,2,1.10", "1.1,3,1.1", "1.1,4, 1.1")
    X, y, ids = xlstm.read(path, id="id")
    assert (X.lengths.tolist(), ids, y.tolist()) == ([2, 2], ["1.10", "1.1"], ["1.10", "1.1"])


@pytest.mark.parametrize("library", ["pandas", "polars", "dict"])
def test_a_frame_keeps_its_types(library):
    columns = {"id": ["1", "1", "2", "2"], "v": [1.0, 2.0, 3.0, 4.0], "label": ["1", "1", "2", "2"]}
    frame = columns if library == "dict" else peer(library).DataFrame(columns)
    _, y, ids = xlstm.from_long(frame, id="id")
    assert (ids, y.tolist()) == (["1", "2"], ["1", "2"])
    columns |= {"id": [1, 1, 2, 2], "label": [1, 1, 2, 2]}
    _, y, ids = xlstm.from_long(columns if library == "dict" else peer(library).DataFrame(columns), id="id")
    assert (ids, y.tolist()) == ([1, 2], [1, 2])


def test_json_and_parquet_keep_their_types(tmp_path):
    path = write(tmp_path / "a.jsonl", {"id": "12", "x": [1], "y": "1"}, {"id": "13", "x": [2], "y": "2"})
    assert (xlstm.read(path).ids, xlstm.read(path).y.tolist()) == (["12", "13"], ["1", "2"])
    path = write(tmp_path / "b.jsonl", *({"id": name, "x": k} for k, name in enumerate(["1.10", "1.1", "1.10", "1.1"])))
    assert xlstm.read(path, id="id").ids == ["1.10", "1.1"]
    arrow, parquet = peer("pyarrow"), peer("pyarrow.parquet")
    parquet.write_table(arrow.table({"id": ["1", "1"], "v": [1.0, 2.0], "label": ["7", "7"]}), tmp_path / "c.parquet")
    _, y, ids = xlstm.read(tmp_path / "c.parquet", id="id")
    assert (y.tolist(), ids) == (["7"], ["1"])


def test_labels_of_steps_are_of_one_type(tmp_path):
    rows = [{"x": [1, 2], "y": ["1", "2"]}, {"x": [3, 4, 5], "y": ["1", "a", "2"]}] * 4
    X, y, _ = xlstm.read(write(tmp_path / "a.jsonl", *rows), label_each_step=True)
    assert {row.dtype.kind for row in y} == {"U"}
    assert [row.tolist() for row in y] == [row["y"] for row in rows]
    assert xlstm.SequenceLabeler(hidden_size=4, max_iter=1).fit(X, y).classes_.tolist() == ["1", "2", "a"]
    arrow, parquet = peer("pyarrow"), peer("pyarrow.parquet")
    table = arrow.table({"x": [row["x"] for row in rows], "y": [row["y"] for row in rows]})
    parquet.write_table(table, tmp_path / "a.parquet")
    _, y, _ = xlstm.read(tmp_path / "a.parquet", features=["x"], label="y", label_each_step=True)
    assert [row.tolist() for row in y] == [row["y"] for row in rows]


def test_a_regressor_takes_numbers_that_are_texts(tmp_path):
    """In Python numbers alone, but a table of texts has 2.50 too."""
    table = ["a,b,label", *(f"{k},{k % 3},{k / 4:.2f}" for k in range(20))]
    X, y, _ = xlstm.read(write(tmp_path / "a.csv", *table))
    numbers = np.arange(20) / 4
    options: dict[str, Any] = {"hidden_size": 4, "max_iter": 2, "random_state": 0}
    ours, theirs = (xlstm.SequenceRegressor(**options).fit(X, one) for one in (y, numbers))
    np.testing.assert_array_equal(ours.predict(X), theirs.predict(X))


# ---------------------------------------------------------------- blocks of files


@pytest.mark.parametrize("steps", [False, True], ids=["one each", "each step"])
def test_labels_of_blocks_are_those_of_the_whole(tmp_path, steps):
    """Blocks of digits alone, after one of letters."""
    rows = [f"s{k},{t},{('1.5', '2')[t % 2 if steps else k % 2] if k > 2 else 'a'}" for k in range(9) for t in range(2)]
    path = write(tmp_path / "a.csv", "id,v,label", *rows)
    whole = xlstm.read(path, id="id", label_each_step=steps).y
    blocks = [y for _, y in xlstm.from_files(path, id="id", label_each_step=steps, block=6)]
    assert len(blocks) == 3
    assert [np.asarray(label).tolist() for y in blocks for label in y] == [
        np.asarray(label).tolist() for label in whole
    ]


def test_steps_of_blocks_are_numbers_or_text(tmp_path):
    rows = [f"s{k},{t},{t if k < 3 else 'b'}" for k in range(6) for t in range(2)]
    path = write(tmp_path / "a.csv", "id,v,label", *rows)
    message = (
        f"{path}, lines 8 to 13: the labels are text, such as 'b', those before were numbers: make all of one kind."
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        list(xlstm.from_files(path, id="id", label_each_step=True, block=6))


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_a_block_without_labels_is_named(tmp_path, ending):
    if ending == "csv":
        path = write(tmp_path / "a.csv", "text,label", "a,x", "b,y", "c,", "d,")
        where = f"{path}, lines 4 to 5"
    else:
        path = write(tmp_path / "a.jsonl", {"text": "a", "label": "x"}, {"text": "b", "label": "y"}, {"text": "c"})
        where = f"{path}, lines 3 to 3"
    message = f"{where}: no sequence has a label, those before have one: fill it, or leave them out."
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        list(xlstm.from_files(path, block=2))


def test_white_space_around_an_id_does_not_part_its_rows(tmp_path):
    rows = ["a,1", " a,2", "b,3", "b ,4", "b,5", "c,6"]
    path = write(tmp_path / "a.csv", "id,v", *rows)
    assert [X.lengths.tolist() for X, _ in xlstm.from_files(path, id="id", block=2)] == [[2], [3], [1]]
    objects = [{"id": row.split(",")[0], "v": int(row.split(",")[1])} for row in rows]
    path = write(tmp_path / "a.jsonl", *objects)
    assert [X.lengths.tolist() for X, _ in xlstm.from_files(path, id="id", block=2)] == [[2], [3], [1]]


def test_the_columns_of_wide_files_are_in_one_order(tmp_path):
    first, second = write(tmp_path / "a.csv", "t0,t1,t2", "1,2,3"), write(tmp_path / "b.csv", "t2,t1,t0", "3,2,1")
    message = (
        f"{second} has the column 't2' as step 1, {first} has 't0': in wide form the columns are the steps, in one "
        "order in all files. Name them in order by features=."
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        list(xlstm.from_files([first, second]))
    named = [X.values.ravel().tolist() for X, _ in xlstm.from_files([first, second], features=["t0", "t1", "t2"])]
    assert named == [[1, 2, 3], [1, 2, 3]]


def test_ids_that_nobody_asked_for_may_come_back(tmp_path):
    path = write(tmp_path / "a.jsonl", *({"id": k % 3, "x": [1, k], "y": "ab"[k % 2]} for k in range(8)))
    assert [len(X) for X, _ in xlstm.from_files(path, block=4)] == [4, 4]


# ---------------------------------------------------------------- pipes


def test_a_pipe_is_read_from_its_first_byte(tmp_path):
    table = "id,v,label\n" + "".join(f"s{k // 3},{k},x\n" for k in range(60))
    expected = xlstm.read(write(tmp_path / "a.csv", table.rstrip("\n")), id="id")
    reading, writing = os.pipe()
    try:
        os.write(writing, table.encode())
        os.close(writing)
        X, y, ids = xlstm.read(f"/dev/fd/{reading}", format="csv", id="id")
    finally:
        os.close(reading)
    np.testing.assert_array_equal(X.values, expected.X.values)
    assert (y.tolist(), ids) == (expected.y.tolist(), expected.ids)


def test_pipes_are_no_files_to_read_again(tmp_path):
    os.mkfifo(tmp_path / "a.csv")
    advice = "can be read once, and every pass reads the files anew: write what it gives to a file."
    for path, what in (("-", "standard input"), (f"{tmp_path}/a.csv", f"{tmp_path}/a.csv is a pipe, which")):
        with pytest.raises(ValueError, match=f"^{re.escape(f'{what} {advice}')}$"):
            xlstm.from_files(path, format="csv")
    os.mkfifo(tmp_path / "a.npz")
    with pytest.raises(
        ValueError, match=r"a\.npz is a pipe, from which csv, tsv, jsonl, ts are read, not npz: write a"
    ):
        xlstm.read(tmp_path / "a.npz")


# ---------------------------------------------------------------- without labels


@pytest.mark.parametrize(
    ("lines", "asked"),
    [
        ([{"x": [1, 2], "y": None}, {"x": [3], "y": "a"}], {}),
        ([{"x": [1, 2]}, {"x": [3], "y": ["a"]}], {}),
        ([{"x": [1, 2], "kind": {}}, {"x": [3]}], {"label": "kind"}),
        ([{"i": 0, "v": 1, "label": 1}, {"i": 0, "v": 2}, {"i": 1, "v": 3, "label": None}], {"id": "i"}),
        ([{"i": 0, "v": 1}, {"i": 0, "v": 2, "k": 1}, {"i": 1, "v": 3}], {"id": "i", "label": "k"}),
    ],
)
def test_labels_are_not_looked_at_where_they_are_not_needed(tmp_path, lines, asked):
    X, y, _ = xlstm.readers.read_as(write(tmp_path / "a.jsonl", *lines), Asked(**asked, labelled=False))
    assert (X.lengths.tolist(), X.values.ravel().tolist(), y) == ([2, 1], [1, 2, 3], None)


def test_archives_and_tables_without_their_labels(tmp_path):
    np.savez(tmp_path / "a.npz", X=np.ones(3), lengths=[2, 1], y=[0, 1, 0])
    write(tmp_path / "a.csv", "label,t0,t1", ",1,1", "x,1,")
    write(tmp_path / "a.ts", "@classLabel true a", "@data", "1,1:b", "1:a")
    peer("pyarrow.parquet").write_table(
        peer("pyarrow").table({"x": [[1.0, 1.0], [1.0]], "label": [None, "a"]}), tmp_path / "a.parquet"
    )
    for name in ("a.npz", "a.csv", "a.ts", "a.parquet"):
        X, y, _ = xlstm.readers.read_as(tmp_path / name, Asked(labelled=False))
        assert (X.lengths.tolist(), X.values.tolist(), y) == ([2, 1], [[1], [1], [1]], None), name


# ---------------------------------------------------------------- places and times


@pytest.mark.parametrize(("library", "make"), [("pyarrow", "array"), ("polars", "Series")])
def test_a_missing_step_is_named_by_its_row(library, make):
    array = getattr(peer(library), make)([[[5, 6]], [[1, 2], None]])
    with pytest.raises(ValueError, match=r"^step 1 of row 1 of X is missing: fill it, or leave it out\.$"):
        xlstm.Sequences.of(array)


def test_a_column_of_lists_is_no_column_of_numbers(tmp_path):
    table = peer("pyarrow").table({"id": [1, 2], "v": [[1.0], [2.0, 3.0]]})
    peer("pyarrow.parquet").write_table(table, tmp_path / "a.parquet")
    with pytest.raises(ValueError, match=r"^row 0 of .*a\.parquet holds .* in the column 'v', where a number is expec"):
        xlstm.read(tmp_path / "a.parquet", id="id")


@pytest.mark.parametrize("zone", ["", "Z", "+02:00"])
def test_nanoseconds_are_kept(tmp_path, zone):
    order = (300, 100, 200)
    rows = [f"1,2024-05-31T12:00:00.{k:09}{zone},{k}" for k in order]
    X, _, _ = xlstm.read(write(tmp_path / "a.csv", "id,t,v", *rows), id="id", time="t", delta="dt")
    np.testing.assert_allclose(X.values, [[100, 0], [200, 1e-7], [300, 1e-7]], rtol=1e-12)
    times = np.datetime64("2024-05-31T12:00:00", "ns") + np.array(order, "m8[ns]")
    X, _, _ = xlstm.from_long({"id": [1] * 3, "t": times, "v": np.array(order, float)}, id="id", time="t")
    assert X.values.ravel().tolist() == [100, 200, 300]
