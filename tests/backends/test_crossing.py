"""The size of work from which on "auto" takes the GPU: measured on this machine, kept, read again; or the estimate."""

import json
import sys
from pathlib import Path

import pytest
from xlstm.backends import crossing

import xlstm
from xlstm import backends, bench

from ..standin import machine

GPU = "Stand-in GPU, 8 GiB"
CPU = backends.numpy_arrays.processor()


@pytest.fixture(autouse=True)
def folder(monkeypatch, tmp_path):
    monkeypatch.delenv("XLSTM_DEVICE", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    return tmp_path / "xlstm"


@pytest.fixture
def gpu():
    with machine() as gpu:
        yield gpu


def keep(flops, cpu=CPU, gpu=GPU):
    crossing.path().parent.mkdir(exist_ok=True)
    crossing.path().write_bytes(crossing.content(crossing.Machine(cpu, gpu), flops))


@pytest.fixture(autouse=True)
def _all_is_said(caplog):
    caplog.set_level("INFO", logger="xlstm")


def said(caplog):
    return [record.getMessage() for record in caplog.records]


def test_what_was_measured_here_decides(gpu, caplog):
    keep(3e6)
    assert backends.auto_rule() == (3e6, True)
    assert backends.select("auto", flops_per_step=2.9e6).device == "cpu"
    assert said(caplog) == [
        "using the CPU: a step of this work is 2.9 million operations, and below 3 million the CPU was measured to be "
        "faster (device='cuda' overrides)"
    ]
    assert backends.select("auto", flops_per_step=3e6).device == "cuda:0"
    keep(5e8)
    assert backends.select("auto", flops_per_step=4e8).device == "cpu"
    assert backends.select("auto").device == "cuda:0", "work of an unknown size is large"
    assert xlstm.LSTM(20_000, 8, device="auto").device == "cpu"
    assert backends.select("cuda", flops_per_step=1).device == "cuda:0"


def test_report_marks_what_auto_takes(gpu, monkeypatch):
    def used():
        return [entry.device for entry in backends.report() if entry.used]

    keep(5e8)
    assert used() == ["cuda:0"], "for work that is not small"
    keep(None)
    assert used() == ["cpu"], "the CPU was faster at every size"
    monkeypatch.setenv("XLSTM_DEVICE", "cuda")
    assert used() == ["cuda:0"], "it was asked for"


def test_a_cpu_that_was_always_faster_is_taken(gpu, caplog):
    keep(None)
    for flops in (None, 1e15):
        assert backends.select("auto", flops_per_step=flops).device == "cpu"
    assert said(caplog) == ["using the CPU: the CPU was measured to be faster at every size (device='cuda' overrides)"]


@pytest.mark.parametrize("other", [{"cpu": "another"}, {"gpu": "NVIDIA H100, 80 GiB"}])
def test_the_figure_of_another_machine_says_nothing(other, gpu, caplog):
    keep(1.0, **other)
    assert backends.auto_rule() == (backends.AUTO_MIN_FLOPS_PER_STEP, False)
    assert backends.select("auto", flops_per_step=2.0).device == "cpu"
    assert "is expected to be faster" in said(caplog)[0]


def test_the_figure_of_another_version_says_nothing(gpu):
    keep(1.0)
    content = json.loads(crossing.path().read_text())
    crossing.path().write_text(json.dumps({**content, "form": crossing.FORM + 1}))
    assert not backends.auto_rule().measured


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"[]",
        b"{}",
        b"[" * 100_000,
        *(
            json.dumps({"form": 1, "cpu": CPU, "gpu": GPU, "flops_per_step": figure}).encode()
            for figure in ("1", -1, [1.0], True, float("nan"), float("inf"))
        ),
        json.dumps({"form": 1, "cpu": CPU, "gpu": GPU}).encode(),
    ],
)
def test_a_damaged_file_is_told_of_once_and_ignored(damage, gpu, caplog):
    keep(1.0)
    crossing.path().write_bytes(damage)
    for _ in range(2):
        assert backends.select("auto", flops_per_step=2.0).device == "cpu"
    told, small = said(caplog)
    assert told.startswith(f"{crossing.path()} is ignored, for it is damaged or cannot be read (")
    assert told.endswith("xlstm bench --save writes it anew")
    assert "is expected to be faster" in small


def test_without_a_figure_cupy_is_not_imported_for_small_work(gpu):
    assert backends.select("auto", flops_per_step=1.0).device == "cpu"
    assert "cupy" not in sys.modules


def test_a_figure_and_no_gpu_falls_back(caplog):
    keep(1.0)
    with machine(driver=False):
        assert backends.select("auto", flops_per_step=1.0).device == "cpu"
    assert len(said(caplog)) == 1
    with machine(distributions=()):
        assert backends.select("auto").device == "cpu"


@pytest.mark.parametrize(
    ("platform", "environment", "expected"),
    [
        ("linux", {}, "{home}/.config/xlstm/crossing.json"),
        ("darwin", {}, "{home}/Library/Application Support/xlstm/crossing.json"),
        ("win32", {"APPDATA": "{home}/Roaming"}, "{home}/Roaming/xlstm/crossing.json"),
        ("win32", {}, "{home}/AppData/Roaming/xlstm/crossing.json"),
        ("darwin", {"XDG_CONFIG_HOME": "{home}/c"}, "{home}/c/xlstm/crossing.json"),
    ],
)
def test_the_folder_is_the_systems(platform, environment, expected, monkeypatch, tmp_path):
    for name in ("XDG_CONFIG_HOME", "APPDATA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value.format(home=tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.setattr(sys, "platform", platform)
    assert crossing.path() == Path(expected.format(home=tmp_path))


# ---------------------------------------------------------------- measured and kept


def results(flops, device="cuda:0"):
    found = None if device is None else {"flops_per_step": flops, "size": None, "device": device}
    return {"machine": {"processor": CPU}, "crossing": found}


def test_what_is_saved_is_what_auto_goes_by(gpu, folder):
    assert bench.save(results(7e6)) == folder / "crossing.json"
    assert backends.auto_rule() == (7e6, True)
    bench.save(results(None))
    assert backends.auto_rule().never
    assert [path.name for path in folder.iterdir()] == ["crossing.json"], "nothing is left beside it"


def test_without_a_crossing_point_nothing_is_saved(gpu, folder):
    with pytest.raises(ValueError, match="there is no crossing point to save: it takes"):
        bench.save(results(None, device=None))
    assert not folder.exists()


def test_a_folder_that_cannot_be_made_is_an_error(gpu, folder):
    folder.write_text("a file of the folder's name")
    for call in (bench.check_saving, lambda: bench.save(results(7e6))):
        with pytest.raises(FileExistsError):
            call()
    assert folder.read_text() == "a file of the folder's name"
