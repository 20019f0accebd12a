"""How much may be in an archive of others, known before it is unpacked: so that no small file fills the memory.

Libraries store weights as they are, and packed ones are hardly smaller. What an archive announces may therefore be
`TIMES` its size and `MORE`.
"""

from __future__ import annotations

import zipfile

TIMES = 8
MORE = 16 * 2**20
"""Bytes that the members of any archive may have."""


def allowed(size: int) -> int:
    """Bytes that a file of so many may become."""
    return TIMES * size + MORE


def check(announced: int, size: int) -> None:
    """Raise a ValueError where a file of so many bytes announces more than it may."""
    if announced > allowed(size):
        raise ValueError(
            f"what it holds would take {announced / 1e6:.0f} MB of memory, where {allowed(size) / 1e6:.0f} MB are "
            "expected for its size: it is damaged, or made to do harm."
        )


def check_archive(archive: zipfile.ZipFile, size: int) -> None:
    """Raise a ValueError where the members of a zip archive announce more than they may."""
    check(sum(member.file_size for member in archive.infolist()), size)


def member(archive: zipfile.ZipFile, name: str) -> bytes:
    """A member of an archive that was checked, of which no more is unpacked than it announces.

    Raises
    ------
    KeyError
        If there is none.
    ValueError
        If it is packed in a way whose unpacking cannot be stopped.
    """
    info = archive.getinfo(name)
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"its {name:.80} is packed by another method than deflate")
    with archive.open(info) as file:
        return file.read(info.file_size)  # without a number zipfile would unpack all of it, and cut it then
