"""Files are written atomically, and read back only when they are sound."""

import json
import os

import numpy as np
import pyarrow as pa
import pytest

from atlas.errors import AtlasError
from atlas.workflow import files

TABLE = pa.table({"name": ["a", "b"], "value": pa.array([1.0, 2.0], pa.float32())})


def test_a_failed_write_leaves_the_old_file_and_no_scraps(tmp_path):
    path = tmp_path / "out.txt"
    files.write_text(path, "old\n")
    with pytest.raises(ZeroDivisionError), files.whole(path) as scratch:
        scratch.write_text(f"half of the {scratch.write_text('ne') // 0}")
    assert path.read_text() == "old\n"
    assert [path.name for path in tmp_path.iterdir()] == ["out.txt"]


def test_two_writers_never_mix(tmp_path):
    path = tmp_path / "out.txt"
    with files.whole(path) as first, files.whole(path) as second:
        assert first != second
        first.write_text("first")
        second.write_text("second")
    assert path.read_text() == "first"  # the outer block ends last
    assert [path.name for path in tmp_path.iterdir()] == ["out.txt"]


def test_a_write_error_names_the_output_that_was_wanted(tmp_path):
    path = tmp_path / "out.txt"
    with pytest.raises(OSError, match=r"out\.txt"), files.whole(path):
        raise OSError(5, "Input/output error")


def test_outputs_follow_the_umask(tmp_path):
    old = os.umask(0o022)
    try:
        files.write_text(tmp_path / "out.txt", "x")
    finally:
        os.umask(old)
    assert (tmp_path / "out.txt").stat().st_mode & 0o777 == 0o644


def test_parquet_comes_back_with_its_provenance(tmp_path):
    path = tmp_path / "deep" / "table.parquet"
    files.write_parquet(path, TABLE, {"code": "abc"})
    assert files.read_parquet(path, TABLE.schema.remove_metadata()).equals(TABLE)
    assert files.provenance_of(path) == {"code": "abc"}


def test_a_truncated_parquet_file_is_named(tmp_path):
    path = tmp_path / "table.parquet"
    files.write_parquet(path, TABLE, {})
    whole = path.read_bytes()
    for size in (0, 4, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(AtlasError, match=r"table\.parquet: not a whole Parquet file .* run again to remake it"):
            files.read_parquet(path)


def test_a_flipped_bit_in_the_data_of_a_parquet_file_is_noticed(tmp_path):
    path = tmp_path / "table.parquet"
    files.write_parquet(path, pa.table({"value": np.random.default_rng(0).random(1000)}), {})
    whole = bytearray(path.read_bytes())
    whole[len(whole) // 2] ^= 1
    path.write_bytes(whole)
    with pytest.raises(AtlasError, match=r"table\.parquet: not a whole Parquet file .*CRC.* run again to remake it"):
        files.read_parquet(path)


def test_missing_and_wrong_columns_are_named(tmp_path):
    path = tmp_path / "table.parquet"
    files.write_parquet(path, TABLE, {})
    with pytest.raises(AtlasError, match=r"no column 'seed'; found name, value"):
        files.read_parquet(path, pa.schema([("seed", pa.int32())]))
    with pytest.raises(AtlasError, match=r"column 'value' is float, expected int32"):
        files.read_parquet(path, pa.schema([("value", pa.int32())]))


@pytest.mark.parametrize("read", [files.read_parquet, files.read_json, files.read_text])
def test_a_missing_file_is_named(tmp_path, read):
    with pytest.raises(AtlasError, match=r"nowhere\.x: no such file"):
        read(tmp_path / "nowhere.x")


def test_json_that_is_not_finite_is_refused_and_that_is_cut_is_named(tmp_path):
    path = tmp_path / "x.json"
    with pytest.raises(ValueError, match="JSON compliant"):
        files.write_json(path, {"loss": float("nan")})
    assert not path.exists()
    files.write_json(path, {"loss": [1.5] * 100})
    assert json.loads(path.read_text()) == files.read_json(path)
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(AtlasError, match=r"x\.json: not valid JSON"):
        files.read_json(path)


def test_text_that_is_not_utf8_is_named(tmp_path):
    path = tmp_path / "x.txt"
    path.write_bytes(b"abc\xff")
    with pytest.raises(AtlasError, match=r"x\.txt: not UTF-8 text .* at byte 3"):
        files.read_text(path)


def test_sha256_of_a_known_text(tmp_path):
    (tmp_path / "x").write_bytes(b"abc")  # the first example of FIPS 180-2
    assert files.sha256(tmp_path / "x") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
