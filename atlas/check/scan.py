"""Go through a results folder, name what is damaged or lost, and clear it away so that Snakemake makes it again."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from atlas.check.contents import DisagreeError, reader_of
from atlas.errors import AtlasError
from atlas.phrases import plural
from atlas.workflow import checksums, publishing
from atlas.workflow.checksums import Checksum

LOGS = "logs"  # appended to while jobs run, and nothing is made from them


@dataclass(frozen=True)
class Finding:
    """A file that is not what was written."""

    path: Path
    problem: str


@dataclass
class Scan:
    """What was looked at, and what is wrong."""

    files: int = 0
    without_sum: int = 0  # only their format and contents could be checked
    unknown: list[Path] = field(default_factory=list)  # of no kind that Atlas writes, without a checksum
    findings: list[Finding] = field(default_factory=list)


def scan(results: Path) -> Scan:
    """Check every file below ``results`` but logs and hidden ones. Raises AtlasError where there is no such folder."""
    if not results.is_dir():
        raise AtlasError(f"{results}: no such folder; give the folder of a study's results, such as results-quick")
    made = Scan()
    for folder in [results, *(path for path in sorted(results.rglob("*")) if path.is_dir())]:
        parts = folder.relative_to(results).parts
        if parts[:1] == (LOGS,) or any(part.startswith(".") for part in parts):
            continue
        expected = checksums.read(folder)
        made.findings += _of_list(folder, expected)
        for path in sorted(folder.iterdir()):
            if path.name.startswith(".") or path.name == checksums.NAME or (path.is_dir() and not path.is_symlink()):
                continue
            name = PurePosixPath(path.relative_to(results).as_posix())
            wanted = None if path.is_symlink() else expected.get(path.name)  # a link leads to another folder's file
            made.files += 1
            made.without_sum += wanted is None
            made.unknown += [path] if wanted is None and reader_of(name) is None else []
            if problem := _problem(path, name, wanted):
                made.findings.append(Finding(path, problem))
    return made


def _of_list(folder: Path, expected: dict[str, Checksum]) -> Iterator[Finding]:
    """What is wrong with the list of checksums itself, and what it names that is lost."""
    path = folder / checksums.NAME
    if not path.is_file():
        return
    first = path.read_text(encoding="utf-8", errors="replace").partition("\n")[0]
    if first != checksums.header(len(expected)):
        has = plural(len(expected), "checksum")
        yield Finding(path, f"has {has} under the headline {first[:60]!r}: damaged or cut off")
    for name in expected:
        if not (folder / name).exists() and not (folder / name).is_symlink():
            yield Finding(folder / name, f"lost: {path} names it, but there is no such file")


def _problem(path: Path, name: PurePosixPath, wanted: Checksum | None) -> str | None:
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


def remove(findings: Sequence[Finding]) -> list[Path]:
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


def summary(results: Path, made: Scan) -> str:
    """One line: how much was checked, and by what."""
    line = f"{results}: {plural(made.files, 'file')}, {made.files - made.without_sum} held against their checksums"
    if made.without_sum:
        line += f", {made.without_sum} without one, of which only the format and the contents could be checked"
    if made.unknown:
        line += f"; {len(made.unknown)} of no known kind, such as {made.unknown[0]}, not at all"
    return line


def remedy(results: Path, findings: Sequence[Finding]) -> str:
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
