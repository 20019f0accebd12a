"""A file is written whole or not at all, with the permissions and under the name that its user expects."""

import os
import stat

import pytest

from xlstm.files import check_target, write_whole

posix = pytest.mark.skipif(os.name != "posix", reason="permissions, links and devices are those of POSIX")


def names(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_new_replaces_the_old_and_nothing_is_left_beside_it(tmp_path):
    path = tmp_path / ("long name " * 24)
    for content in (b"old", b"new and longer"):
        write_whole(path, [content[:2], content[2:]])
        assert path.read_bytes() == content
    assert names(tmp_path) == [path.name]
    write_whole(os.fsencode(tmp_path / "bytes"), [b"x"])
    assert (tmp_path / "bytes").read_bytes() == b"x"


def test_a_failure_leaves_the_old_file(tmp_path):
    path = tmp_path / "file"
    write_whole(path, [b"old"])

    def parts():
        yield b"half"
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_whole(path, parts())
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["file"]


@posix
def test_permissions_are_those_of_the_umask_or_of_the_old_file(tmp_path):
    before = os.umask(0o027)
    try:
        write_whole(tmp_path / "new", [b"x"])
        assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o640
        (tmp_path / "new").chmod(0o600)
        write_whole(tmp_path / "new", [b"y"])
        assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o600
        assert os.umask(0o027) == 0o027, "the umask belongs to the whole process"
    finally:
        os.umask(before)


@posix
def test_a_link_stays_and_what_it_points_to_is_replaced(tmp_path):
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_bytes(b"old")
    link.symlink_to(target)
    write_whole(link, [b"new"])
    assert link.is_symlink()
    assert target.read_bytes() == b"new"


@posix
def test_what_is_no_file_is_refused(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path, match in (
        (pipe, "no regular file"),
        (tmp_path, "a folder"),
        (tmp_path / "none" / "file", "does not exist"),
    ):
        for function in (check_target, lambda path: write_whole(path, [b"x"])):
            with pytest.raises(OSError, match=match) as error:
                function(path)
            assert error.value.filename == str(path)
    assert stat.S_ISFIFO(pipe.stat().st_mode)


@posix
def test_a_working_folder_that_was_deleted_is_told_of(tmp_path, monkeypatch):
    folder = tmp_path / "gone"
    folder.mkdir()
    monkeypatch.chdir(folder)
    folder.rmdir()
    with pytest.raises(FileNotFoundError, match="the working folder was deleted: name a path that is whole: 'model'"):
        write_whole("model", [b"x"])
    write_whole(tmp_path / "model", [b"x"])
    assert (tmp_path / "model").read_bytes() == b"x"
