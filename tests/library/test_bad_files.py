# ruff: noqa: E501 - the tables of bad input are read by the line
"""Files and tables that cannot be read as they are: what was given, and the whole sentence that says so.

{f} in a sentence stands for the path of the file.
"""

import gzip
import io
import pickle
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import xlstm

from ..peers import peer

LONG = "id,t,a,b,label\nu,1,1,2,x\nu,2,3,4,x\nv,1,5,6,y\n"
WIDE = "label,t0,t1\nx,1,2\ny,3,4\n"
TS = "@problemName p\n@classLabel true x y\n@data\n1,2:3,4:x\n"
STEPS: dict[str, Any] = {"id": "id", "time": "t"}


def npz(**arrays: Any) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def npy(array: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


def archive(*names: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as whole:
        for name in names:
            whole.writestr(name, "1")
    return file.getvalue()


def ts(*lines: str, label: str = "@classLabel true x y") -> str:
    return "\n".join(("@problemName p", label, "@data", *lines)) + "\n"


X, NAMES = np.arange(12.0).reshape(2, 3, 2), np.array(["a", "b"])
READ = "csv, tsv, jsonl, parquet, npz, npy, ts"
OBJECT = 'expected a text, {{"text": "…", "label": "…"}}, a series, {{"x": [[1, 2], [3, 4]], "y": "…"}}, features by name, {{"ax": [1, 3], "ay": [2, 4]}} with features=["ax", "ay"], or with id= a step a line.'

# Name: the file's name, its content, the arguments, the whole message.
FILES: dict[str, tuple[str, str | bytes, dict[str, Any], str]] = {
    # Which kind of file it is.
    "no ending": ("data", LONG, {}, "{f} has no ending that says its format: name it by format=, one of " + READ + "."),
    "an unknown ending": ("data.dat", LONG, {}, "{f} has the ending '.dat', which says no format: name it by format=, one of " + READ + "."),
    "an unknown ending of a known file": ("data.dat", npy(X), {}, "{f} has the ending '.dat', which says no format: its content says format='npy'."),
    "an unknown format": ("data.csv", LONG, {"format": "excel"}, "format must be one of 'csv', 'tsv', 'jsonl', 'parquet', 'npz', 'npy', 'ts', got 'excel'."),
    "a zip as CSV": ("data.csv", archive("data.txt"), {}, "{f} is a zip archive, no csv file: unpack it, and read the files that it holds."),
    "a workbook as CSV": ("data.csv", archive("xl/workbook.xml"), {}, "{f} is an Excel workbook, no csv file: save its sheet as CSV."),
    "a workbook": ("data.xlsx", archive("xl/workbook.xml"), {}, "{f} is an Excel workbook: save its sheet as CSV."),
    "half a zip as CSV": ("data.csv", b"PK\x03\x04 and no more", {}, "{f} is a damaged zip archive, no csv file: sequences are read from " + READ + "."),
    "a picture as CSV": ("data.csv", b"\x89PNG\r\n\x1a\n\x00\x00", {}, "{f} is a PNG picture, no csv file: sequences are read from " + READ + "."),
    "an npz as CSV": ("data.csv", npz(X=X), {}, "{f} is of the format npz, no csv file: say format='npz'."),
    "an npy as TS": ("data.ts", npy(X), {}, "{f} is of the format npy, no ts file: say format='npy'."),
    "Parquet as CSV": ("data.csv", b"PAR1....PAR1", {}, "{f} is of the format parquet, no csv file: say format='parquet'."),
    "a pickle as JSON lines": ("data.jsonl", pickle.dumps([1]), {}, "{f} is a pickle, no jsonl file: it executes what it holds and may do harm: ask for one of the formats " + READ + "."),
    "a model as data": ("data.csv", b"xlstm\x00\r\n", {}, "{f} is a model file of xlstm, no csv file: xlstm.load reads it."),
    "HDF5": ("data.h5", b"\x89HDF\r\n\x1a\n....", {}, "{f} is an HDF5 file: read it with h5py or pandas, and pass the arrays or frames themselves."),
    "bzip2": ("data.csv", b"BZh91AY", {}, "{f} is packed by bzip2, no csv file: unpack it, or pack it by gzip."),
    "a packed npz": ("data.npz.gz", gzip.compress(npz(X=X)), {}, "{f} is packed by gzip: unpack it first, npz files are packed inside."),
    "a CSV as npz": ("data.npz", LONG, {}, "{f} is no npz file: name its format by format=."),
    "an empty npz": ("data.npz", b"", {}, "{f} is empty, no npz file: name its format by format=."),
    "a CSV as Parquet": ("data.parquet", LONG, {}, "{f} is no parquet file: name its format by format=."),
    "half a gzip file": ("data.csv.gz", gzip.compress(LONG.encode() + b"w,1,1,1,x\n" * 99)[:-12], STEPS, "{f} is damaged, it cannot be unpacked by gzip: Compressed file ended before the end-of-stream marker was reached"),
    # Texts, and what stands in them.
    "an empty CSV": ("data.csv", "", {}, "{f} is empty: the first line has to name the columns"),
    "no header": ("data.tsv", "1\t0.5\t-0.3\n2\t0.1\t0.2\n", {}, "{f} begins with numbers, '1', '0.5', '-0.3': the first line has to name the columns."),
    "an unknown encoding": ("data.csv", LONG, {**STEPS, "encoding": "utf-9"}, "encoding must be one that Python knows, such as 'utf-8', got 'utf-9'."),
    "a delimiter of two": ("data.csv", LONG, {**STEPS, "delimiter": ", "}, "delimiter must be one character, such as ';' or '\\t', got ', '."),
    "a header alone": ("data.csv", "id,t,a\n", STEPS, "{f} has a header but no rows."),
    "a blank first line": ("data.csv", "\nid,t,a\n", STEPS, "{f} is empty: the first line has to name the columns"),
    "commas alone": ("data.csv", ",,\n1,2,3\n", {}, "{f} begins with a line without names: the first line names the columns."),
    "another encoding": ("data.csv", "id,a\nÄ,1\n".encode("cp1252"), {"id": "id"}, "{f} is not UTF-8 text: byte 0xc4 in line 2: save the file as UTF-8, or name its encoding by encoding= (for example cp1252 or utf-16)"),
    "UTF-16 without a word": ("data.csv", LONG.encode("utf-16"), STEPS, "{f} is not UTF-8 text: byte 0xff in line 1: save the file as UTF-8, or name its encoding by encoding= (for example cp1252 or utf-16)"),
    "UTF-8 as UTF-16": ("data.csv", "abc", {"encoding": "utf-16-le"}, "{f} is not utf-16-le text: byte 0x63 in line 1: save the file as UTF-8, or name its encoding by encoding= (for example cp1252 or utf-16)"),
    "a quotation mark that stays open": ("data.csv", 'id,a\nu,"1\nv,2\n', {"id": "id"}, "{f} cannot be read as a table: the quotation mark that opens in line 2 is never closed. Quotation marks stand around a whole field, and those within are doubled"),
    "another delimiter": ("data.csv", LONG.replace(",", ";"), STEPS, "{f} has one column, 'id;t;a;b;label', by the delimiter ',': say delimiter=';'."),
    "another delimiter, named wrongly": ("data.csv", "id;t;a,b\nu;1;2,3\n", STEPS, "{f} has no column 'id' (id=): it has 'id;t;a', 'b'. Separated by ';' its first line has it: say delimiter=';'."),
    "a tab in a CSV": ("data.csv", LONG.replace(",", "\t"), STEPS, "{f} has one column, 'id\\tt\\ta\\tb\\tlabel', by the delimiter ',': say delimiter='\\t'."),
    "a row that is too short": ("data.csv", LONG + "v,2,1\n", STEPS, "line 5 of {f} has 3 fields, the header 5: write those that are missing as empty fields."),
    "a row that is too long": ("data.csv", LONG + "v,2,1,2,y,3\n", STEPS, "line 5 of {f} has 6 fields, the header 5: quote fields that hold a ','."),
    "a short row after one of two lines": ("data.csv", LONG + '"v\nw",3,1,1,z\nw\n', STEPS, "line 7 of {f} has 1 field, the header 5: write those that are missing as empty fields."),
    "a million letters": ("data.csv", "id,a\nu," + "q" * 10**6 + "\n", {"id": "id"}, f"line 2 of {{f}} holds '{'q' * 49}… (1000000 long) in the column 'a', where a number is expected: name the columns that hold numbers by features=, that of labels by label=, and leave a field empty where its value is missing."),
    "a text among numbers": ("data.csv", LONG.replace("3,4", "3,four"), STEPS, "line 3 of {f} holds 'four' in the column 'b', where a number is expected: name the columns that hold numbers by features=, that of labels by label=, and leave a field empty where its value is missing."),
    "a decimal comma": ("data.csv", "id;a\nu;1,5\n", {"id": "id", "delimiter": ";"}, "line 2 of {f} holds '1,5' in the column 'a', where a number is expected: write decimals with a point."),
    "an underscore": ("data.csv", "id,a\nu,1_000\n", {"id": "id"}, "line 2 of {f} holds '1_000' in the column 'a', where a number is expected: name the columns that hold numbers by features=, that of labels by label=, and leave a field empty where its value is missing."),
    # Columns.
    "a missing column": ("data.csv", LONG, {"id": "sensor"}, "{f} has no column 'sensor' (id=): it has 'id', 't', 'a', 'b', 'label'."),
    "a column that is nearly there": ("data.csv", LONG, {"id": "ID"}, "{f} has no column 'ID' (id=): it has 'id', 't', 'a', 'b', 'label'. Is 'id' meant?"),
    "a misspelt label": ("data.csv", LONG, {**STEPS, "label": "labels"}, "{f} has no column 'labels' (label=): it has 'id', 't', 'a', 'b', 'label'. Is 'label' meant?"),
    "a missing feature": ("data.csv", LONG, {**STEPS, "features": ["a", "c"]}, "{f} has no column 'c' (features=): it has 'id', 't', 'a', 'b', 'label'."),
    "a feature twice": ("data.csv", LONG, {**STEPS, "features": ["a", "a"]}, "features= names the column 'a' twice."),
    "one feature as a string": ("data.csv", LONG, {**STEPS, "features": "a"}, "features must be a list of columns, got the string 'a': ['a']."),
    "no features": ("data.csv", LONG, {**STEPS, "features": []}, "{f} has no column left for features: it has 'id', 't', 'a', 'b', 'label'."),
    "nothing but an id": ("data.csv", "id,t\nu,1\n", STEPS, "{f} has no column left for features: it has 'id', 't'."),
    "a column for two": ("data.csv", LONG, {"id": "id", "label": "id"}, "the column 'id' cannot be both id= and label=: name two."),
    "the time as a feature": ("data.csv", LONG, {**STEPS, "features": ["t", "a"]}, "the column 't' cannot be both time= and a feature: name two."),
    "two columns of one name": ("data.csv", "id,a,a\nu,1,2\n", {"id": "id"}, "{f} has 2 columns 'a': give each a name of its own."),
    "a number for a column": ("data.csv", LONG, {"id": 0}, "id= takes the name of a column, a string, got 0."),
    "texts with features": ("data.csv", "text,a\nhey,1\n", {"text": "text", "features": ["a"]}, "texts have no features: name columns by text= or by features=, not by both."),
    "a time without an id": ("data.csv", LONG, {"time": "t"}, "time= is for tables in long form, a step a row: name the column that says which sequence a row belongs to by id=."),
    "labels at each step of a wide table": ("data.csv", WIDE, {"label_each_step": True}, "label_each_step= is for tables in long form, a step a row: name the column that says which sequence a row belongs to by id=."),
    "a delta without a time": ("data.csv", LONG, {"id": "id", "delta": "dt"}, "delta= is the time since the step before: name the column of times by time=."),
    "a delta with a name that is taken": ("data.csv", LONG, {**STEPS, "delta": "a"}, "the new feature of delta= cannot be called 'a': a column has that name."),
    "axes of a CSV": ("data.csv", LONG, {**STEPS, "channels_first": True}, "channels_first= says nothing of a file of the format csv: leave it out."),
    # Ids, times and labels.
    "an id with two labels": ("data.csv", LONG.replace("3,4,x", "3,4,z"), STEPS, "the id 'u' has two labels in the column 'label', 'x' in line 2 of {f} and 'z' in line 3 of {f}: a sequence has one, unless label_each_step=True says that each step has its own."),
    "an id that is missing": ("data.csv", LONG + ",9,1,1,y\n", STEPS, "line 5 of {f} has no id in the column 'id': fill it, or leave the row out."),
    "a label that is missing": ("data.csv", LONG.replace("6,y", "6,"), STEPS, "line 4 of {f} has no label in the column 'label', others have one: fill it, or leave the row out."),
    "a label that is missing, of a step": ("data.csv", LONG.replace("6,y", "6,"), {**STEPS, "label_each_step": True}, "line 4 of {f} has no label in the column 'label', others have one: fill it, with a label that stands for none, such as '?', where there is none, and name that by ignore."),
    "labels at each step, and none there": ("data.csv", "id,a\nu,1\n", {"id": "id", "label_each_step": True}, "label_each_step=True, but {f} has no labels: name their column by label=."),
    "a time twice": ("data.csv", LONG.replace("u,2", "u,1"), STEPS, "the id 'u' has the time 1 twice, in line 2 of {f} and line 3 of {f}: leave one of them out, or tell the sequences apart by other ids."),
    "a date twice": ("data.csv", "id,t,a\nu,2024-01-01T10:00,1\nu,2024-01-01 10:00:00,2\n", STEPS, "the id 'u' has the time 2024-01-01T10:00:00 twice, in line 2 of {f} and line 3 of {f}: leave one of them out, or tell the sequences apart by other ids."),
    "a time that goes back": ("data.csv", LONG.replace("u,2", "u,0.5"), {**STEPS, "sort": False}, "the times of the id 'u' go back, from 1.0 in line 2 of {f} to 0.5 in line 3 of {f}: sort=True sorts them."),
    "a time that is missing": ("data.csv", LONG.replace("u,2", "u,"), STEPS, "line 3 of {f} has no time in the column 't': fill it, or leave the row out."),
    "a time that is none": ("data.csv", LONG.replace("u,1", "u,noon"), STEPS, "line 2 of {f} has the time 'noon' in the column 't', which is neither a number nor a date like 2024-05-31 or 2024-05-31T12:30:00."),
    "a date among numbers": ("data.csv", LONG.replace("u,2", "u,2024-01-01"), STEPS, "line 3 of {f} has the time '2024-01-01', the rows before it have numbers."),
    "dates with an offset and without": ("data.csv", "id,t,a\nu,2024-01-01T10:00:00Z,1\nu,2024-01-01T11:00:00,2\n", STEPS, "line 3 of {f} has the time '2024-01-01T11:00:00', line 2 of {f} has '2024-01-01T10:00:00Z': only one of them has an offset from UTC."),
    "an infinite time": ("data.csv", LONG.replace("u,2", "u,inf"), STEPS, "line 3 of {f} has the time 'inf', the rows before it have numbers."),
    # Wide tables, texts and tokens.
    "a series of nothing": ("data.csv", WIDE + "x,,\n", {}, "line 4 of {f} has no values: fill it, or leave it out."),
    "a series that is too long": ("data.csv", WIDE + "x,1,2,3\n", {}, "line 4 of {f} has 4 fields, the header 3: quote fields that hold a ','."),
    "a series without a label": ("data.csv", WIDE + ",1,2\n", {}, "line 4 of {f} has no label in the column 'label', others have one: fill it, or leave the row out."),
    "a long table as a wide one": ("data.csv", LONG, {}, "line 2 of {f} holds 'u' in the column 'id', where a number is expected: name the columns that hold numbers by features=, that of labels by label=, and leave a field empty where its value is missing. Where a row is a step, name the column of its sequence's id by id=."),
    "an index that pandas wrote": ("data.csv", ",id,t,a\n0,u,1,2\n1,u,2,3\n", STEPS, "column 1 of {f} has no name. Is it the index of a frame, which pandas writes unless it is told index=False? Name the columns of numbers by features=, or name it."),
    "a number that is missing among labels": ("data.csv", "id,a,label\nu,1,0.5\nv,2,NA\n", {"id": "id"}, "line 3 of {f} has the label 'NA' in the column 'label', others have numbers: fill it, or leave the row out."),
    "an empty text": ("data.csv", "text,label\nhey,x\n ,y\n", {}, "line 3 of {f} has no text in the column 'text': fill it, or leave it out."),
    "a text without a label": ("data.csv", "text,label\nhey,x\nyou,\n", {}, "line 3 of {f} has no label in the column 'label', others have one: fill it, or leave the row out."),
    "two columns of texts": ("data.csv", "text,text\nhey,you\n", {}, "{f} has 2 columns 'text': give each a name of its own."),
    "an empty token": ("data.csv", "id,text,label\nu,a,x\nu,,y\n", {"id": "id", "text": "text", "label_each_step": True}, "line 3 of {f} has no token in the column 'text': fill it, or leave the row out."),
    # JSON lines.
    "empty JSON lines": ("data.jsonl", "\n", {}, "{f} is empty: " + OBJECT),
    "no JSON": ("data.jsonl", '{"x": [1]}\n{"x": [1\n', {}, "line 2 of {f} is no JSON (Expecting ',' delimiter: line 2 column 1 (char 9)): each line holds one whole object."),
    "one JSON array": ("data.jsonl", '[{"x": [1]}]\n', {}, "line 1 of {f} holds list, not an object {{…}}: write each of its objects on a line of its own."),
    "a number a line": ("data.jsonl", "3\n", {}, "line 1 of {f} holds int, not an object {{…}}."),
    "an object of other things": ("data.jsonl", '{"value": [1]}\n', {}, "line 1 of {f} has the fields 'value': " + OBJECT),
    "a series that vanishes": ("data.jsonl", '{"x": [1]}\n{"z": [1]}\n', {}, "line 2 of {f} has no field 'x': it has 'z'."),
    "a series that is a number": ("data.jsonl", '{"x": [1]}\n{"x": 1}\n', {}, "line 2 of {f} has 1 in 'x', where a list is expected."),
    "an empty series": ("data.jsonl", '{"x": []}\n', {}, "line 1 of {f} has an empty list in 'x': each sequence needs at least one step."),
    "a series with a text": ("data.jsonl", '{"x": [1, "a"]}\n', {}, "line 1 of {f} has [1, 'a'] in 'x', where a list of numbers, or of steps that are lists of numbers, is expected."),
    "a series that is too deep": ("data.jsonl", '{"x": [[[1]]]}\n', {}, "line 1 of {f} has [[[1]]] in 'x', where a list of numbers, or of steps that are lists of numbers, is expected."),
    "steps of other widths": ("data.jsonl", '{"x": [[1, 2], [3]]}\n', {}, "line 1 of {f} has steps with different numbers of features in 'x'."),
    "other features": ("data.jsonl", '{"x": [[1, 2]]}\n{"x": [[1]]}\n', {}, "line 2 of {f} has 1 feature a step, line 1 of {f} has 2."),
    "a feature that vanishes": ("data.jsonl", '{"x": {"a": [1], "b": [2]}}\n{"x": {"a": [1]}}\n', {}, "line 2 of {f} has other features than line 1 of {f}: 'b' are in one only."),
    "features of other lengths": ("data.jsonl", '{"a": [1, 2], "b": [3]}\n', {"features": ["a", "b"]}, "line 1 of {f} has 2 steps of 'a', but 1 of 'b'."),
    "a feature that is no list": ("data.jsonl", '{"a": [1, 2], "b": 3}\n', {"features": ["a", "b"]}, "line 1 of {f} has 3 in 'b', where a list of numbers is expected."),
    "a label that vanishes": ("data.jsonl", '{"x": [1], "y": 0}\n{"x": [1]}\n', {}, "line 2 of {f} has no field 'y': it has 'x'."),
    "a label that appears": ("data.jsonl", '{"x": [1]}\n{"x": [1], "y": 0}\n', {}, "line 2 of {f} has a label, line 1 of {f} has none: all have one, or none has."),
    "a label that is null": ("data.jsonl", '{"x": [1], "y": null}\n', {}, "line 1 of {f} has None in 'y', where a label is expected."),
    "labels of another length": ("data.jsonl", '{"x": [1, 2], "y": [0, 1, 0]}\n', {"label_each_step": True}, "line 1 of {f} has 3 labels for 2 steps: there is one a step."),
    "one label for labels": ("data.jsonl", '{"x": [1, 2], "y": 1}\n', {"label_each_step": True}, "line 1 of {f} has 1 in 'y', where a list of labels is expected."),
    "tokens with a number": ("data.jsonl", '{"x": ["a", 1]}\n', {}, "line 1 of {f} has ['a', 1] in 'x', where a list of tokens is expected."),
    "a text that is none": ("data.jsonl", '{"text": "a"}\n{"text": 1}\n', {}, "line 2 of {f} has 1 in 'text', where a text is expected."),
    "a step with other fields": ("data.jsonl", '{"id": 1, "a": 1}\n{"id": 1, "b": 1}\n', {"id": "id"}, "line 2 of {f} has other fields than line 1 of {f}: it lacks 'a'. Write null for nothing."),
    "a time of whole sequences": ("data.jsonl", '{"x": [1]}\n', {"time": "t"}, "time= is for lines that are a step each: in {f} a line is a whole sequence."),
    # NumPy's files.
    "no X": ("data.npz", npz(data=X, y=[0, 1]), {}, "{f} has no array 'X': it has 'data', 'y'."),
    "no such label": ("data.npz", npz(X=X), {"label": "target"}, "{f} has no array 'target' (label=): it has 'X'."),
    "objects in npz": ("data.npz", npz(X=np.array([np.ones(2), np.ones(3)], dtype=object)), {}, "the array 'X' of {f} holds Python objects, which are a pickle and not read, for it may do harm: write all steps as one array X (S, D), and `lengths`."),
    "objects in npy": ("data.npy", npy(np.array([np.ones(2), np.ones(3)], dtype=object)), {}, "the array 'X' of {f} holds Python objects, which are a pickle and not read, for it may do harm: write all steps as one array X (S, D), and `lengths`."),
    "one series": ("data.npy", npy(np.ones(5)), {}, "the array 'X' of {f} has the shape (5,): expected (n, time, features), (n, time), or with 'lengths' all steps (S, features)."),
    "complex numbers": ("data.npy", npy(X * 1j), {}, "the array 'X' of {f} holds complex128: sequences are real numbers, or strings (n,)."),
    "no steps": ("data.npy", npy(np.ones((3, 0, 2))), {}, "the array 'X' of {f} has the shape (3, 0, 2): it holds no steps."),
    "lengths that sum up to nothing": ("data.npz", npz(X=np.ones((6, 2)), lengths=[2, 3]), {}, "'lengths' of {f} are 2 from 2 to 3, X is of shape (6, 2): expected 6 from 1 to 2, or such that sum up to the steps of X (S, features)."),
    "lengths beyond the time": ("data.npz", npz(X=X, lengths=[4, 1]), {}, "'lengths' of {f} are 2 from 1 to 4, X is of shape (2, 3, 2): expected 2 from 1 to 3, or such that sum up to the steps of X (S, features)."),
    "lengths with fractions": ("data.npz", npz(X=X, lengths=[1.5, 1]), {}, "'lengths' of {f} must be integers (n,), got float64 of shape (2,)."),
    "y of another length": ("data.npz", npz(X=X, y=[0, 1, 0]), {}, "{f} has 2 sequences, but 'y' is of the shape (3,): expected (2,), or with label_each_step=True a label a step."),
    "y of other steps": ("data.npz", npz(X=X, y=np.ones((2, 2))), {"label_each_step": True}, "'y' of {f} has the shape (2, 2), for 2 sequences of 6 steps in all: expected (6,) or (2, 3 or more)."),
    "no y for the steps": ("data.npz", npz(X=X), {"label_each_step": True}, "label_each_step=True, but {f} has no array 'y' of labels: name it by label=."),
    "ids of another length": ("data.npz", npz(X=X, ids=[1]), {}, "{f} has 2 sequences, but 'ids' is of shape (1,): expected (2,)."),
    "names of another number": ("data.npz", npz(X=X, names=["a"]), {}, "{f}: names has 1 names, but values has 2 features."),
    "names twice": ("data.npz", npz(X=X, names=["a", "a"]), {}, "{f}: names has 'a' twice: give each feature a name of its own."),
    "a feature of no name": ("data.npz", npz(X=X, names=NAMES), {"features": ["c"]}, "{f} has no feature 'c' (features=): it has 'a', 'b'."),
    "features of no names": ("data.npz", npz(X=X), {"features": ["c"]}, "{f} has no array 'names', by which features= could choose features."),
    "channels of two axes": ("data.npz", npz(X=np.ones((2, 3))), {"channels_first": True}, "channels_first=True, but 'X' of {f} is of shape (2, 3): (n, channels, time)."),
    "an id in npz": ("data.npz", npz(X=X), {"id": "id"}, "id= says nothing of a file of the format npz: leave it out."),
    # .ts
    "an empty ts": ("data.ts", "", {}, "{f} is empty: is it a file in the format .ts?"),
    "a CSV as ts": ("data.ts", LONG, {}, "line 1 of {f} stands before @data, where lines begin with @, # or %: 'id,t,a,b,label'."),
    "no @data": ("data.ts", "@problemName p\n", {}, "{f} has no line @data: is it a file in the format .ts?"),
    "no series": ("data.ts", ts(), {}, "{f} has no series after @data."),
    "time stamps": ("data.ts", "@timestamps true\n@data\n", {}, "{f} has time stamps (line 1), which are not read: write it as a table in long form, with a column of times."),
    "time stamps without a word": ("data.ts", ts("(0,1),(1,2):x"), {}, "line 4 of {f} has values with time stamps, such as '(0,1),(1,2)': these are not read."),
    "classes without names": ("data.ts", ts(label="@classLabel true"), {}, "line 2 of {f} says that there are classes, but names none."),
    "an unknown class": ("data.ts", ts("1,2:x", "1,2:z"), {}, "line 5 of {f} has the class 'z', the header has 'x', 'y'."),
    "a line without a class": ("data.ts", ts("1,2"), {}, "line 4 of {f} has no label: after the values there has to be a colon and a label."),
    "a target that is none": ("data.ts", ts("1,2:x", label="@targetLabel true"), {}, "line 4 of {f} has the target 'x', where a number is expected."),
    "another number of dimensions": ("data.ts", ts("1,2:3,4:x", "1,2:y"), {}, "line 5 of {f} has 1 dimension, the first series has 2."),
    "dimensions that the header does not have": ("data.ts", ts("1:2:x", label="@dimensions 3\n@classLabel true x"), {}, "line 5 of {f} has 2 dimensions, the header says 3."),
    "dimensions of other lengths": ("data.ts", ts("1,2:3:x"), {}, "line 4 of {f} has 2 values in the dimension 0, 1 in the dimension 1: the dimensions of a series are of one length."),
    "an empty dimension": ("data.ts", ts("1,2::x"), {}, "line 4 of {f} has no values in the dimension 1: each needs at least one."),
    "a word in a series": ("data.ts", ts("1,two:x"), {}, "line 4 of {f} holds 'two' in the column '0', where a number is expected: name the columns that hold numbers by features=, that of labels by label=, and leave a field empty where its value is missing."),
    "features of a ts": ("data.ts", TS, {"features": ["a"]}, "features= says nothing of a file of the format ts: leave it out."),
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_a_bad_file(name: str, tmp_path: Path) -> None:
    file_name, content, arguments, sentence = FILES[name]
    path = tmp_path / file_name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises((ValueError, TypeError)) as raised:
        xlstm.read(path, **arguments)
    assert str(raised.value) == sentence.format(f=path)
    assert "\n" not in str(raised.value)


def test_no_file_and_a_folder(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        xlstm.read(tmp_path / "data.csv")
    with pytest.raises(IsADirectoryError, match=re.escape(f"{tmp_path} is a folder: name a file in it.")):
        xlstm.read(tmp_path)
    with pytest.raises(ValueError, match="standard input needs a format: 'csv', 'tsv', 'jsonl', 'ts', got None"):
        xlstm.read("-")


def pandas_frame(**columns: Any) -> Any:
    return peer("pandas").DataFrame(columns)


def long_frame(**columns: Any) -> dict[str, Any]:
    return {"id": [1, 1, 2], "t": [1, 2, 1], "a": [1.0, 2.0, 3.0], **columns}


# Name: a call, the error, the whole message.
TABLES: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "a path": (lambda: xlstm.from_long("data.csv", id="id"), TypeError, "frame must be a table with names of columns, got str: xlstm.read reads files."),
    "a list of frames": (lambda: xlstm.from_long([1], id="id"), TypeError, "frame must be a table with names of columns, got list: a list of frames, one for each sequence, goes to the estimators as it is."),
    "an array": (lambda: xlstm.from_long(np.ones((2, 2)), id="id"), TypeError, "frame must be a table with names of columns, got ndarray."),
    "groups": (lambda: xlstm.from_long(pandas_frame(**long_frame()).groupby("id"), id="id"), TypeError, "frame is a DataFrameGroupBy, a table that is cut already: pass the table itself, frame.obj."),
    "a lazy frame": (lambda: xlstm.from_long(peer("polars").LazyFrame(long_frame()), id="id"), TypeError, "frame is a LazyFrame, which is not computed yet: pass frame.collect()."),
    "a column of the index": (lambda: xlstm.from_long(pandas_frame(**long_frame()).set_index("id"), id="id"), ValueError, "the DataFrame has no column 'id' (id=): it has 't', 'a'. It is of the index, of which reset_index() makes columns."),
    "no rows": (lambda: xlstm.from_long({"id": [], "a": []}, id="id"), ValueError, "the dict has no rows."),
    "columns of other lengths": (lambda: xlstm.from_long({"id": [1], "a": [1.0, 2.0]}, id="id"), ValueError, "the columns of the dict are of different lengths: 'a' 2, 'id' 1."),
    "an id with two labels": (lambda: xlstm.from_long(long_frame(label=["x", "y", "x"]), id="id", time="t"), ValueError, "the id 1 has two labels in the column 'label', 'x' in row 0 of the dict and 'y' in row 1 of the dict: a sequence has one, unless label_each_step=True says that each step has its own."),
    "an id that is None": (lambda: xlstm.from_long(long_frame(id=[1, None, 2]), id="id"), ValueError, "row 1 of the dict has no id in the column 'id': fill it, or leave the row out."),
    "an id that is NaN": (lambda: xlstm.from_long(pandas_frame(id=[1, np.nan, 2], a=[1.0, 2, 3]), id="id"), ValueError, "row 1 of the DataFrame has no id in the column 'id': fill it, or leave the row out."),
    "a time twice": (lambda: xlstm.from_long(long_frame(t=[2, 2, 1]), id="id", time="t"), ValueError, "the id 1 has the time 2 twice, in row 0 of the dict and row 1 of the dict: leave one of them out, or tell the sequences apart by other ids."),
    "a time that is NaT": (lambda: xlstm.from_long(long_frame(t=np.array(["2024-01-01", "NaT", "2024-01-02"], "M8[D]")), id="id", time="t"), ValueError, "row 1 of the dict has no time in the column 't': fill it, or leave the row out."),
    "a time that is None": (lambda: xlstm.from_long(long_frame(t=[1, None, 2]), id="id", time="t"), ValueError, "row 1 of the dict has no time in the column 't': fill it, or leave the row out."),
    "a time of truth": (lambda: xlstm.from_long(long_frame(t=[True, False, True]), id="id", time="t"), ValueError, "the column 't' holds bool, where times are expected: numbers or dates."),
    "a text among numbers": (lambda: xlstm.from_long(pandas_frame(**long_frame(a=[1.0, "two", 3.0])), id="id"), ValueError, "row 1 of the DataFrame holds 'two' in the column 'a', where a number is expected: name the columns that hold numbers by features=, that of labels by label=, and leave a field empty where its value is missing."),
    "dates as features": (lambda: xlstm.from_long(long_frame(a=np.array(["2024-01-01"] * 3, "M8[s]")), id="id"), ValueError, "the column 'a' holds datetime64[s]: name times by time=, and leave them out of features=."),
    "complex features": (lambda: xlstm.from_long(long_frame(a=np.ones(3) * 1j), id="id"), ValueError, "the column 'a' holds complex128, where real numbers are expected."),
    "a column of rows": (lambda: xlstm.from_long(long_frame(a=np.ones((3, 2))), id="id"), ValueError, "the column 'a' has the shape (3, 2): expected a value a row."),
    "labels that are lists": (lambda: xlstm.from_long(long_frame(label=[["x"], ["x"], ["y"]]), id="id"), ValueError, "the column 'label' holds list, such as ['x'], where each row has one value."),
    "a delta of no name": (lambda: xlstm.from_long(long_frame(), id="id", time="t", delta=True), TypeError, "delta= is the name of a new feature, a string, got True."),  # type: ignore[arg-type]
    # Sequences.
    "lengths that do not sum up": (lambda: xlstm.Sequences(np.ones((3, 2)), [1, 1]), ValueError, "lengths sum up to 2, but values has 3 steps."),
    "an empty sequence": (lambda: xlstm.Sequences(np.ones((3, 2)), [3, 0]), ValueError, "lengths[1] is 0: each sequence needs at least one step."),
    "lengths with a fraction": (lambda: xlstm.Sequences(np.ones((3, 2)), [1.5, 1.5]), TypeError, "lengths must be integers (n,), got float64 of shape (2,)."),
    "texts as values": (lambda: xlstm.Sequences(["a"], [1]), TypeError, "values must be real numbers (S, D), got dtype <U1."),
    "three axes": (lambda: xlstm.Sequences(np.ones((2, 3, 4)), [3, 3]), ValueError, "values must be all steps, (S, D), got an array of shape (2, 3, 4)."),
    "one name": (lambda: xlstm.Sequences(np.ones((3, 2)), [3], ["a"]), ValueError, "names has 1 names, but values has 2 features."),
    "a string of names": (lambda: xlstm.Sequences(np.ones((3, 2)), [3], "ab"), TypeError, "names must be strings, one for each feature, got 'ab'."),
    "no such sequence": (lambda: xlstm.Sequences(np.ones((3, 2)), [3])[1], IndexError, "there is no sequence 1: there are 1."),
    "an index of two axes": (lambda: xlstm.Sequences(np.ones((3, 2)), [3])[np.zeros((1, 1), int)], IndexError, "sequences are indexed by a number, a slice, a mask or numbers (n,), got array([[0]])."),
    "lists of other widths": (lambda: xlstm.Sequences.of([np.ones((2, 2)), np.ones((2, 3))]), ValueError, "row 1 has the shape (2, 3): expected (time, features), as of all others."),
    "no lists": (lambda: xlstm.Sequences.of(3), TypeError, "lists must be an array of lists or a list of arrays (time_i, D), got 3."),
    "a polars list that is empty": (lambda: xlstm.Sequences.of(peer("polars").Series([[1.0], []])), ValueError, "row 1 of X is an empty sequence: each needs at least one step."),
    "a polars list that is missing": (lambda: xlstm.Sequences.of(peer("polars").Series([[1.0], None])), ValueError, "row 1 of X is missing: leave it and its label out."),
    "an Arrow list that is missing": (lambda: xlstm.Sequences.of(peer("pyarrow").array([[1.0], None])), ValueError, "row 1 of X is missing: leave it and its label out."),
    "Arrow lists of other widths": (lambda: xlstm.Sequences.of(peer("pyarrow").array([[[1.0]], [[1.0, 2.0]]])), ValueError, "row 1 of X has steps of other numbers of features than row 0."),
    "Arrow lists of texts": (lambda: xlstm.Sequences.of(peer("pyarrow").array([["a"]])), TypeError, "X holds object, where numbers are expected."),
}  # fmt: skip


@pytest.mark.parametrize("name", TABLES)
def test_a_bad_table(name: str) -> None:
    call, kind, sentence = TABLES[name]
    with pytest.raises(kind) as raised:
        call()
    assert str(raised.value) == sentence


def test_there_are_many_of_them() -> None:
    assert len(FILES) + len(TABLES) >= 80
