"""A file is written whole or not at all, with the permissions and under the name that its user expects."""

import errno
import io
import os
import stat
import subprocess
import sys

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


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere open files have no paths")
def test_a_pipe_that_has_no_path_of_its_own_is_refused():
    """As /dev/stdout is where a command's answers go to another: whoever reads it waits for itself."""
    reading, writing = os.pipe()
    with pytest.raises(OSError, match="no regular file") as error:
        check_target(f"/proc/self/fd/{writing}")
    assert error.value.filename == f"/proc/self/fd/{writing}"
    os.close(reading)
    os.close(writing)


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


# ---------------------------------------------------------------- who may read it, while it is written and after


@posix
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o644])
def test_at_no_time_more_people_may_read_it_than_could_read_the_old(tmp_path, mode):
    path = tmp_path / "secret"
    path.write_bytes(b"old")
    path.chmod(mode)
    seen = []

    def parts():
        for _ in range(3):
            seen.extend(stat.S_IMODE(other.stat().st_mode) for other in tmp_path.iterdir())
            yield b"more"

    before = os.umask(0)
    try:
        write_whole(path, parts())
    finally:
        os.umask(before)
    assert len(seen) == 6
    assert set(seen) == {mode}
    assert stat.S_IMODE(path.stat().st_mode) == mode


@posix
def test_a_new_file_is_readable_as_the_umask_has_it_from_the_start(tmp_path, monkeypatch):
    opened, modes = os.open, []

    def watched(path, flags, mode=0o777, **others):
        handle = opened(path, flags, mode, **others)
        if flags & os.O_CREAT:
            modes.append(stat.S_IMODE(os.fstat(handle).st_mode))
        return handle

    monkeypatch.setattr(os, "open", watched)
    before = os.umask(0o077)
    try:
        write_whole(tmp_path / "new", [b"x"])
        (tmp_path / "new").chmod(0o644)
        os.umask(0)
        write_whole(tmp_path / "new", [b"y"])
    finally:
        os.umask(before)
    assert modes == [0o600, 0o600]


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="only root may give files away")
def test_the_owner_is_kept(tmp_path):
    path = tmp_path / "theirs"
    path.write_bytes(b"old")
    os.chown(path, 12345, 23456)
    path.chmod(0o640)
    write_whole(path, [b"new"])
    found = path.stat()
    assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (12345, 23456, 0o640)


@posix
def test_an_owner_that_cannot_be_kept_is_told_of_and_no_other_group_may_read(tmp_path, monkeypatch):
    path = tmp_path / "theirs"
    path.write_bytes(b"old")
    path.chmod(0o2664)

    def another(path, *, of=os.stat):
        found = of(path)
        return os.stat_result([*found[:4], found.st_uid + 1, found.st_gid + 1, *found[6:]])

    monkeypatch.setattr("xlstm.files._status", another)
    monkeypatch.setattr(os, "fchown", lambda *_: (_ for _ in ()).throw(PermissionError(1, "not permitted")))
    with pytest.warns(UserWarning, match="theirs belonged to another user") as told:
        write_whole(path, [b"new"])
    assert told[0].filename == __file__
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


# ---------------------------------------------------------------- what is left of processes that died

DYING = """
import os, sys, xlstm.files
def parts():
    yield b"half"
    print(*os.listdir(sys.argv[1]), flush=True)
    sys.stdin.read()
    os.kill(os.getpid(), 9)
xlstm.files.write_whole(os.path.join(sys.argv[1], "file"), parts())
"""


@posix
def test_what_a_dead_process_left_is_removed_and_what_a_living_one_writes_is_not(tmp_path):
    with subprocess.Popen(
        [sys.executable, "-c", DYING, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        part = child.stdout.readline().strip()
        assert part.endswith(".part")
        (tmp_path / ".xlstm-of mine.part").write_bytes(b"")
        (tmp_path / ".xlstm-0123456789ab.part").mkdir()
        write_whole(tmp_path / "another", [b"x"])
        assert part in names(tmp_path), "it is being written"
        child.stdin.close()
    assert child.returncode == -9
    assert part in names(tmp_path)
    write_whole(tmp_path / "another", [b"x"])
    assert names(tmp_path) == [".xlstm-0123456789ab.part", ".xlstm-of mine.part", "another"]


@posix
def test_a_temporary_file_that_is_taken_for_abandoned_before_its_lock_is_made_again(tmp_path, monkeypatch):
    import fcntl

    flock, taken = fcntl.flock, []

    def late(handle, how):
        if how == fcntl.LOCK_EX and not taken:
            taken.extend(tmp_path.glob(".xlstm-*"))
            taken[0].unlink()
        flock(handle, how)

    monkeypatch.setattr(fcntl, "flock", late)
    write_whole(tmp_path / "file", [b"x"])
    assert len(taken) == 1
    assert names(tmp_path) == ["file"]


# ---------------------------------------------------------------- names that are none, and errors that name the file


@posix
def test_a_name_that_ends_like_a_folder_is_refused(tmp_path):
    (tmp_path / "file").write_bytes(b"old")
    for given in ("file/", "file/.", "new/", "new/.."):
        with pytest.raises(IsADirectoryError, match="name a file"):
            write_whole(f"{tmp_path}/{given}", [b"new"])
    assert names(tmp_path) == ["file"]
    assert (tmp_path / "file").read_bytes() == b"old"


@posix
def test_links_that_lead_to_each_other_are_refused(tmp_path):
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    (tmp_path / "self").symlink_to("self")
    for name in ("a", "self"):
        with pytest.raises(OSError, match="this link leads to itself") as error:
            write_whole(tmp_path / name, [b"new"])
        assert error.value.errno == errno.ELOOP
        assert (tmp_path / name).is_symlink()
    (tmp_path / "nowhere").symlink_to(tmp_path / "target")
    write_whole(tmp_path / "nowhere", [b"new"])  # as open() does
    assert (tmp_path / "target").read_bytes() == b"new"


@posix
def test_an_error_of_the_folder_is_one_and_a_folder_that_cannot_be_synced_is_none(tmp_path, monkeypatch):
    fsync, code = os.fsync, [errno.EIO]

    def failing(handle):
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(code[0], os.strerror(code[0]))
        fsync(handle)

    monkeypatch.setattr(os, "fsync", failing)
    with pytest.raises(OSError, match="Input/output") as error:
        write_whole(tmp_path / "file", [b"x"])
    assert error.value.filename == str(tmp_path / "file")
    code[0] = errno.EINVAL
    write_whole(tmp_path / "file", [b"y"])
    assert (tmp_path / "file").read_bytes() == b"y"


class Full(io.FileIO):
    """A file on a full disk, which says so as the system does: without its name."""

    def write(self, content):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("step", ["write", "fsync", "replace"])
def test_every_error_names_the_file_that_was_to_be_written(tmp_path, monkeypatch, step):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    if step == "write":
        monkeypatch.setattr(os, "fdopen", Full)
    elif step == "fsync":
        monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(errno.ENOSPC, "full")))
    else:
        replace = os.replace
        monkeypatch.setattr(os, "replace", lambda old, new: replace(old, f"{new}/none"))
    with pytest.raises(OSError, match=str(path)) as error:
        write_whole(path, [b"x" * 100_000])
    monkeypatch.undo()
    assert error.value.filename == str(path)
    assert names(tmp_path) == ["file"]
    assert path.read_bytes() == b"old"
