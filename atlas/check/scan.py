"""Go through a results folder, name what is damaged or lost, and clear it away so that Snakemake makes it again."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from atlas.check.contents import DisagreeError, reader_of
from atlas.errors import AtlasError
from atlas.workflow import checksums, publishing

LOGS = "logs"  # appended to while jobs run, and nothing is made from them


@dataclass(frozen=True)
class Finding:
    """A file that is not what was written."""

    path: Path
    problem: str


@dataclass(frozen=True)
class ScanReport:
    """What was looked at, and what is wrong."""

    files: int
    without_sum: int  # only their format and contents could be checked
    unknown: tuple[Path, ...]  # files of no kind that Atlas writes, without a checksum
    findings: tuple[Finding, ...]


def scan(results: Path) -> ScanReport:
    """Check every file below ``results`` but logs and hidden ones. Raises AtlasError where there is no such folder."""
    if not results.is_dir():
        raise AtlasError(f"{results}: no such folder; give the folder of a study's results, such as results-quick")
    found: list[Finding] = []
    known = without_sum = 0
    unknown = []
    for folder in [results, *_folders(results)]:
        expected = checksums.read(folder)
        found += _of_list(folder, expected)
        for path in sorted(folder.iterdir()):
            if path.name.startswith(".") or path.name == checksums.NAME or (path.is_dir() and not path.is_symlink()):
                continue
            name = PurePosixPath(path.relative_to(results).as_posix())
            wanted = None if path.is_symlink() else expected.get(path.name)  # a link leads to another folder's file
            known += 1
            without_sum += wanted is None
            if wanted is None and reader_of(name) is None:
                unknown.append(path)
            if problem := _problem(path, name, wanted):
                found.append(Finding(path, problem))
    return ScanReport(known, without_sum, tuple(unknown), tuple(found))


def _folders(results: Path) -> Iterator[Path]:
    for path in sorted(results.rglob("*")):
        parts = path.relative_to(results).parts
        if path.is_dir() and parts[0] != LOGS and not any(part.startswith(".") for part in parts):
            yield path


def _of_list(folder: Path, expected: dict[str, checksums.Sum]) -> Iterator[Finding]:
    """What is wrong with the list of checksums itself, and what it names that is lost."""
    path = folder / checksums.NAME
    if not path.is_file():
        return
    first = path.read_text(encoding="utf-8", errors="replace").partition("\n")[0]
    if first != checksums.header(len(expected)):
        yield Finding(path, f"has {len(expected)} checksums under the headline {first[:60]!r}: damaged or cut off")
    for name in expected:
        if not (folder / name).exists() and not (folder / name).is_symlink():
            yield Finding(folder / name, f"lost: {path} names it, but there is no such file")


def _problem(path: Path, name: PurePosixPath, wanted: checksums.Sum | None) -> str | None:
    """What is wrong with a file, in the words of its reader where that one notices; None where it is sound."""
    if path.is_symlink() and not path.exists():
        return f"a link to {path.readlink()}, where there is no file"
    reader = reader_of(name)
    changed = False
    try:
        changed = wanted is not None and checksums.sha256(path) != wanted.sha256
        if reader:
            reader(path)
    except DisagreeError as error:  # where the checksum holds, the other file is to blame, and has one, too
        return _first(path, error) if changed or wanted is None else None
    except AtlasError as error:
        return _first(path, error)
    except (OSError, ValueError, KeyError, TypeError) as error:  # what no reader of damaged bytes foresees
        return f"cannot be read ({type(error).__name__}: {' '.join(str(error).split())[:200]})"
    return f"not the bytes that were written: its sha256 is not the one in {checksums.NAME}" if changed else None


def _first(path: Path, error: AtlasError) -> str:
    """What an error says of a file, without the advice that follows."""
    return str(error).removeprefix(f"{path}: ").partition("; ")[0]


def remove(findings: tuple[Finding, ...]) -> list[Path]:
    """Delete damaged files, those behind links to a cache included, and take all off their lists. What was deleted."""
    by_folder: dict[Path, list[str]] = defaultdict(list)
    for finding in findings:
        by_folder[finding.path.parent].append(finding.path.name)
    deleted = []
    for folder, names in by_folder.items():
        for path in (folder / name for name in names):
            if path.is_symlink() and path.exists():
                deleted.append(path.resolve())
            if path.is_symlink() or path.exists():
                deleted.append(path)
        if checksums.NAME not in names and (folder / checksums.NAME).is_file():
            publishing.forget(folder, names)
    for path in deleted:
        path.unlink()
    return deleted


def summary(results: Path, report: ScanReport) -> str:
    """One line: how much was checked, and by what."""
    line = f"{results}: {report.files} files, {report.files - report.without_sum} held against their checksums"
    if report.without_sum:
        line += f", {report.without_sum} without one, of which only the format and the contents could be checked"
    if report.unknown:
        line += f"; {len(report.unknown)} of no known kind, such as {report.unknown[0]}, not at all"
    return line


def remedy(results: Path, findings: tuple[Finding, ...]) -> str:
    """How files that were damaged or lost are made again."""
    ways = []
    names = [finding.path.relative_to(results) for finding in findings]
    if any(name.parts[0] == "audit" or name.stem == "detection" for name in names):
        ways.append("`snakemake guard`")
    if Path("report.html") in names:
        ways.append("`make report`")
    if len(ways) < len(names):
        ways.insert(0, "`snakemake`")
    return f"run {' and '.join(ways)} to make them again, with the --configfile that the study was run with, if any"
