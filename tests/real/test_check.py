"""`atlas check` finds whatever is done to a file below results/, names it, and it is made again on request."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from pathlib import Path, PurePosixPath

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from atlas.check import scan
from atlas.check.contents import is_published
from atlas.errors import AtlasError
from atlas.workflow import checksums, files
from tests.real.checkout import REPOSITORY
from tests.real.torture import timeless

ONE_OF_EACH = (
    "base/1/base.json",
    "base/1/base.safetensors",
    "base/2/certificate.json",
    "base/1/config.json",
    "base/corpus.txt",
    "charts/claims.md",
    "charts/curve.html",
    "charts/curve.json",
    "charts/curve.png",
    "charts/curve.svg",
    "index.html",
    "pool/pool.parquet",
    "pool/skipped.parquet",
    "pool/streams/1.parquet",
    "tables/retention.parquet",
    "ttt/qv/1-2/adapters.safetensors",
    "ttt/qv/1-2/facts.parquet",
    "ttt/qv/1-2/matrix.parquet",
    "ttt/qv/1-2/run.json",
    "ttt/qv/1-2/sessions.parquet",
)


def cut(share):
    return lambda data: data[: min(int(len(data) * share), len(data) - 1)]


def flipped(share):
    def flip(data):
        at = min(int(len(data) * share), len(data) - 1)
        return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]

    return flip


POINTS = (0.0, 0.001, 0.1, 0.25, 0.5, 0.75, 0.9, 0.999, 1.0)
CUTS = {f"cut at {point}": cut(point) for point in POINTS}
FLIPS = {f"a bit flipped at {point}": flipped(point) for point in POINTS}
OTHERS = {
    "another kind of file": lambda _: b"a few words of another kind",
    "zeros": lambda data: bytes(len(data)),
    "a page of zeros": lambda data: data[: len(data) // 2] + bytes(4096) + data[len(data) // 2 + 4096 :],
    "more at the end": lambda data: data + b"more",
}


@pytest.fixture(scope="module")
def results(finished, tmp_path_factory):
    """The results alone, for tests that put back what they take."""
    return shutil.copytree(finished.file("."), tmp_path_factory.mktemp("checked") / "results")


@contextmanager
def instead(path, data):
    """Another content for a while; the time of the file stays, so that nobody sees from outside that it changed."""
    before, times = path.read_bytes(), path.stat()
    path.write_bytes(data)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    try:
        yield
    finally:
        path.write_bytes(before)


@contextmanager
def damage_to(results, names, change):
    """The same damage to several files at once."""
    with ExitStack() as stack:
        for name in names:
            stack.enter_context(instead(results / name, change((results / name).read_bytes())))
        yield


@contextmanager
def no_sums(results):
    with ExitStack() as stack:
        for path in list(results.rglob(checksums.NAME)):
            stack.enter_context(instead(path, b""))
            path.unlink()
        yield


def damaged(results):
    return {found.path.relative_to(results).as_posix() for found in scan.scan(results).findings}


def damaged_files(results):
    return {name for name in damaged(results) if not name.endswith(checksums.NAME)}


def lists(results):
    return {path.relative_to(results).as_posix() for path in results.rglob(checksums.NAME)}


def test_nothing_is_wrong_with_a_finished_study_and_every_file_has_its_checksum(results):
    report = scan.scan(results)
    assert report.findings == []
    assert report.unknown == []
    assert report.without_sum == 0
    assert report.files > 60


@pytest.mark.parametrize("kind", [*CUTS, *FLIPS, *OTHERS])
def test_damage_of_any_kind_to_any_file_is_found_and_no_other_file_is_named(results, kind):
    with damage_to(results, ONE_OF_EACH, {**CUTS, **FLIPS, **OTHERS}[kind]):
        assert damaged(results) == set(ONE_OF_EACH)
    assert damaged(results) == set()


@pytest.mark.parametrize("name", ["base/1/base.json", "base/1/base.safetensors", "ttt/qv/1-2/run.json"])
def test_files_that_agree_with_a_damaged_one_are_not_blamed_for_it(results, name):
    for change in FLIPS.values():
        with damage_to(results, [name], change):
            assert damaged(results) == {name}


@pytest.mark.parametrize("kind", [*list(CUTS)[:-2], *list(OTHERS)[:2]])  # the last two may take a line end, no more
def test_files_without_a_checksum_that_are_cut_are_found_by_their_format(results, kind):
    names = {name for name in ONE_OF_EACH if not name.endswith(".md")}
    with no_sums(results):
        assert damaged_files(results) == set()
        with damage_to(results, names, {**CUTS, **OTHERS}[kind]):
            assert damaged_files(results) - {"base/corpus.txt"} == names - {"base/corpus.txt"}


def test_flipped_bits_without_a_list_of_checksums_are_found_where_the_files_carry_their_own(results):
    names = {"base/1/base.safetensors", "base/corpus.txt", "charts/curve.png"}
    with no_sums(results):
        for kind, change in FLIPS.items():
            with damage_to(results, names, change):
                assert damaged_files(results) == names, kind


def rewritten(path, change):
    table = change(pq.read_table(path))
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    return sink.getvalue().to_pybytes()


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("tables/retention.parquet", lambda t: t.drop_columns(["value"]), "no column 'value'"),
        ("pool/streams/1.parquet", lambda t: t.set_column(0, "seed", t["seed"].cast("float64")), "column 'seed' is"),
        ("pool/pool.parquet", lambda t: pa.concat_tables([t, t.slice(0, 1)]), "is there twice"),
        ("ttt/qv/1-2/facts.parquet", lambda t: t.filter(pa.compute.equal(t["seed"], 1)), "holds seeds [1], but"),
        ("ttt/qv/1-2/matrix.parquet", lambda t: pa.concat_tables([t, t.slice(0, 1)]), "several rows for one"),
    ],
)
def test_contents_that_readers_would_refuse_are_refused_in_their_words(results, name, change, words):
    with no_sums(results), instead(results / name, rewritten(results / name, change)):
        (finding,) = (found for found in scan.scan(results).findings if found.path.name != checksums.NAME)
        assert finding.path == results / name
        assert words in finding.problem


def test_lost_files_and_a_list_that_was_cut_are_named(results):
    table, listed = results / "tables/arms.parquet", results / "tables" / checksums.NAME
    with instead(table, table.read_bytes()):
        table.unlink()
        (finding,) = scan.scan(results).findings
        assert (finding.path, finding.problem.partition(":")[0]) == (table, "lost")
    with instead(listed, listed.read_bytes()[:-100]):
        assert damaged(results) == {f"tables/{checksums.NAME}"}


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_flipped_bit_in_a_list_is_blamed_on_the_list_and_on_no_file(results, data):
    folder = results / data.draw(st.sampled_from(["tables", "base", "base/1", "ttt/qv/1-2", "."]))
    listed = folder / checksums.NAME
    whole = listed.read_bytes()
    at = data.draw(st.integers(0, 8 * len(whole) - 1))
    flipped = bytes(byte ^ (1 << at % 8) * (place == at // 8) for place, byte in enumerate(whole))
    made = scan.Scan()
    with instead(listed, flipped):
        scan.scan_folder(results, folder, made)
    assert [found.path for found in made.findings] == [listed]
    assert "damaged" in made.findings[0].problem


def test_lists_that_were_deleted_are_named_and_written_anew_of_files_that_stay(results, tmp_path):
    study = shutil.copytree(results, tmp_path / "study")
    gone = lists(study)
    before = {path: path.read_bytes() for path in study.rglob("*.*") if path.is_file()}
    for name in gone:
        (study / name).unlink()
    assert damaged(study) == gone
    assert {done.partition(": ")[2] for done in scan.mend(scan.scan(study).findings)} == {
        "written anew, of the files as they are now"
    }
    assert damaged(study) == set()
    assert scan.scan(study).without_sum == 0
    assert {path: path.read_bytes() for path in before} == before


def test_a_step_that_writes_beside_a_damaged_list_does_not_make_it_look_sound(results, tmp_path):
    study = shutil.copytree(results, tmp_path / "study")
    listed = study / "charts" / checksums.NAME
    listed.write_bytes(flipped(0.5)(listed.read_bytes()))
    files.publish_text(study / "charts/claims.md", "Claims.\n")
    (finding,) = scan.scan(study).findings
    assert finding.path == listed
    assert finding.problem.startswith("does not name ablations.html, ")


def test_files_of_the_users_own_are_neither_judged_nor_deleted(results, tmp_path):
    study = shutil.copytree(results, tmp_path / "study")
    own = [study / name for name in ("tables/notes.json", "charts/mine.png", "ttt/qv/1-2/list.txt", "notes.md")]
    for path in own:
        path.write_text("")
    (study / "tables" / checksums.NAME).unlink()
    made = scan.scan(study)
    assert {*made.unknown} == {*own}
    assert [found.path.name for found in made.findings] == [checksums.NAME]
    assert len(list(scan.mend(made.findings))) == 1
    assert all(path.exists() for path in own)
    assert scan.scan(study).findings == []


def test_every_file_of_a_study_is_of_a_name_that_steps_write(results):
    names = [path.relative_to(results) for path in results.rglob("*") if path.is_file()]
    written = [PurePosixPath(name) for name in names if not name.name.startswith(".") and name.parts[0] != "logs"]
    assert [name for name in written if name.name != checksums.NAME and not is_published(name)] == []


def test_a_file_that_may_not_be_read_is_not_called_damaged(results, monkeypatch):
    table = results / "tables/arms.parquet"

    def refuse(path, *arguments, **options):
        if path == table:
            raise PermissionError(13, "Permission denied", str(path))
        return whole(path, *arguments, **options)

    whole = Path.open
    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(PermissionError):
        scan.scan(results)


def test_logs_scratch_and_hidden_files_are_left_alone(results):
    for name in ("logs/base/1/pretrain.log", "ttt/qv/1-2/.state.json", "tables/.a.parquet.x.partial/a.parquet"):
        (results / name).parent.mkdir(exist_ok=True)
        (results / name).write_bytes(b"\xff\0")
    assert damaged(results) == set()


def test_a_file_that_leads_to_a_cache_is_judged_by_its_contents_and_removed_with_what_it_leads_to(results, tmp_path):
    study, cache = shutil.copytree(results, tmp_path / "study"), tmp_path / "cache.json"
    path = study / "ttt/qv/1-2/run.json"
    cache.write_bytes(path.read_bytes() + b" ")  # made by another study: other bytes, as good
    path.unlink()
    path.symlink_to(cache)
    assert damaged(study) == set()
    cache.write_bytes(b"{")
    report = scan.scan(study)
    assert {found.path for found in report.findings} == {path}
    assert {*scan.mend(report.findings)} == {f"{path}: deleted", f"{cache}: deleted"}
    assert not cache.exists()
    path.symlink_to(cache)
    assert "where there is no file" in scan.scan(study).findings[0].problem


def check(folder, *arguments):
    return subprocess.run(
        [sys.executable, "-m", "atlas.cli", "check", str(folder), *arguments],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_command_names_what_is_wrong_and_mends_it_on_request(results, tmp_path):
    study = shutil.copytree(results, tmp_path / "study")
    for name in ("tables/arms.parquet", "ttt/ffn/1-2/run.json"):
        os.truncate(study / name, 50)
    (study / "charts/curve.svg").unlink()
    told = check(study)
    assert told.returncode == 1
    assert len(told.stdout.splitlines()) == 4
    assert "tables/arms.parquet: not a whole Parquet file" in told.stdout
    assert "charts/curve.svg: lost" in told.stdout
    assert "3 files are damaged or lost" in told.stderr
    assert "Traceback" not in told.stderr
    mended = check(study, "--remake")
    assert mended.returncode == 0, mended.stderr
    assert not (study / "tables/arms.parquet").exists()
    assert not (study / "ttt/ffn/1-2/run.json").exists()
    assert "run `snakemake` to make them again" in mended.stdout
    assert scan.scan(study).findings == []  # what is not there is not damaged


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(AtlasError, match="nowhere: no such folder"):
        scan.scan(tmp_path / "nowhere")


@pytest.mark.parametrize(
    "names",  # none that follows from another one
    [{"pool/pool.parquet", "base/corpus.txt"}, {"base/1/config.json", "base/2/base.json"}],
)
def test_whatever_is_lost_is_made_again_by_the_plain_command(copy, names):
    for name in names:
        copy.file(name).unlink()
    assert names <= copy.planned()


DAMAGED = ("charts/claims.md", "charts/curve.png", "index.html", "ttt/ffn/1-2/matrix.parquet")


@pytest.mark.slow
def test_what_was_damaged_is_made_again_equal(copy, finished):
    for name in DAMAGED:
        path = copy.file(name)
        path.write_bytes(flipped(0.5)(path.read_bytes()))
    assert check(copy.file(".")).returncode == 1
    assert check(copy.file("."), "--remake").returncode == 0
    printed = copy.done()
    assert check(copy.file(".")).returncode == 0
    assert len(re.findall(r"rule teach:", printed, flags=re.MULTILINE)) == 1
    assert set(DAMAGED) <= {path.relative_to(copy.file(".")).as_posix() for path in copy.file(".").rglob("*.*")}
    for path in sorted(finished.file("tables").glob("*.parquet")):
        assert timeless(copy.file(f"tables/{path.name}")).equals(timeless(path)), path.name
