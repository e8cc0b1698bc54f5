"""The list of checksums guards itself: whatever is done to it, it is blamed and nothing in it is believed."""

import pytest

from atlas.workflow import checksums
from atlas.workflow.checksums import Checksum, DamagedListError

SUMS = {"a.parquet": Checksum("0123456789abcdef" * 4, 1795000000.25), "b c.json": Checksum("f" * 64, 0.0)}


@pytest.fixture
def listed(tmp_path):
    path = tmp_path / checksums.NAME
    checksums.write(path, SUMS)
    return path


def refused(listed, data):
    listed.write_bytes(data)
    try:
        checksums.read(listed.parent)
    except DamagedListError as error:
        return str(error).startswith(f"{listed}: damaged")
    return False


def test_a_list_comes_back_and_says_how_many_files_it_is_of(listed):
    assert checksums.read(listed.parent) == SUMS
    assert listed.read_text().startswith("# 2 files; list ")
    checksums.write(listed, {"a.parquet": SUMS["a.parquet"]})
    assert listed.read_text().startswith("# 1 file; list ")


def test_any_flipped_bit_is_noticed(listed):
    whole = listed.read_bytes()
    flipped = (
        (at, bit, whole[:at] + bytes([whole[at] ^ 1 << bit]) + whole[at + 1 :])
        for at in range(len(whole))
        for bit in range(8)
    )
    assert [(at, bit) for at, bit, data in flipped if not refused(listed, data)] == []


def test_any_cut_is_noticed_also_to_nothing(listed):
    whole = listed.read_bytes()
    assert [size for size in range(len(whole)) if not refused(listed, whole[:size])] == []


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data.replace(b"\n", b"\r\n"),
        lambda data: data + data,
        lambda data: data + b"0" * 64 + b"  c.json\n",
        lambda data: b"\n".join(reversed(data.split(b"\n"))),
        lambda data: b"".join(line for line in data.splitlines(keepends=True) if b"a.parquet" not in line),
        lambda data: data.decode().encode("utf-16"),
        lambda data: b"\0" * len(data),
    ],
    ids=["line ends", "twice", "a line more", "another order", "a file less", "encoding", "zeros"],
)
def test_other_damage_is_noticed(listed, change):
    assert refused(listed, change(listed.read_bytes()))


def test_a_folder_without_a_list_has_no_checksums(tmp_path):
    assert checksums.read(tmp_path) == {}
