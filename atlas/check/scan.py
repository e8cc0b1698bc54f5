"""Go through a results folder, name what is damaged or lost, and clear it away so that Snakemake makes it again."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from atlas.check.contents import DisagreeError, is_published, reader_of
from atlas.errors import AtlasError
from atlas.phrases import plural
from atlas.workflow import checksums, publishing
from atlas.workflow.checksums import Checksum, DamagedListError

LOGS = "logs"  # appended to while jobs run, and nothing is made from them
OF_SNAKEMAKE = (PurePosixPath("report.html"),)  # published by no step, so without a checksum
SHOWN = 4  # names of a list


@dataclass(frozen=True)
class Finding:
    """A file that is not what was written."""

    path: Path
    problem: str
    unlisted: tuple[str, ...] = ()  # of a list: the sound files beside it that are to be put on it


@dataclass
class Scan:
    """What was looked at, and what is wrong."""

    files: int = 0
    without_sum: int = 0  # only their format and contents could be checked
    unknown: list[Path] = field(default_factory=list)  # that no step writes: the user's own, left alone
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
        scan_folder(results, folder, made)
    return made


def scan_folder(results: Path, folder: Path, made: Scan) -> None:
    """Check the files of one folder and their list. A list that is damaged says nothing about the files."""
    listed, problem = folder / checksums.NAME, None
    try:
        expected = checksums.read(folder)
    except DamagedListError as error:
        expected, problem = {}, _first(listed, error)
    unlisted = []
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.name == checksums.NAME or (path.is_dir() and not path.is_symlink()):
            continue
        made.files += 1
        name = PurePosixPath(path.relative_to(results).as_posix())
        wanted = None if path.is_symlink() else expected.get(path.name)  # a link leads to another folder's file
        if wanted is None and not is_published(name):
            made.unknown.append(path)
            continue
        made.without_sum += wanted is None
        if damage := _problem(path, name, wanted):
            made.findings.append(Finding(path, damage))
        elif wanted is None and not path.is_symlink() and name not in OF_SNAKEMAKE:
            unlisted.append(path.name)
    made.findings += [
        Finding(folder / name, f"lost: {listed} names it, but there is no such file")
        for name in expected
        if not (folder / name).exists() and not (folder / name).is_symlink()
    ]
    if unlisted and not problem:
        names = ", ".join(unlisted[:SHOWN]) + (", ..." if len(unlisted) > SHOWN else "")
        problem = f"does not name {names}" if listed.exists() else f"missing: nothing says what was written to {names}"
    if problem:
        made.findings.append(Finding(listed, problem, tuple(unlisted)))


def _problem(path: Path, name: PurePosixPath, wanted: Checksum | None) -> str | None:
    """What is wrong with a file, in the words of its reader where that one notices; None where it is sound."""
    if path.is_symlink() and not path.exists():
        return f"a link to {path.readlink()}, where there is no file"
    reader = reader_of(name)
    changed = False
    try:
        path.open("rb").close()
        changed = wanted is not None and checksums.sha256(path) != wanted.sha256
        if reader:
            reader(path)
    except DisagreeError as error:  # where the checksum holds, the other file is to blame, and has one, too
        return _first(path, error) if changed or wanted is None else None
    except AtlasError as error:
        return _first(path, error)
    except PermissionError:
        raise  # it may be sound
    except (OSError, ValueError, KeyError, TypeError) as error:  # what no reader of damaged bytes foresees
        return f"cannot be read ({type(error).__name__}: {' '.join(str(error).split())[:200]})"
    return f"not the bytes that were written: its sha256 is not the one in {checksums.NAME}" if changed else None


def _first(path: Path, error: AtlasError) -> str:
    """What an error says of a file, without the advice that follows."""
    return str(error).removeprefix(f"{path}: ").partition("; ")[0]


def mend(findings: Sequence[Finding]) -> Iterator[str]:
    """Delete damaged files, those behind links to a cache included, and take all that is damaged or lost off the lists.

    Lists that are damaged or missing are written anew, of the sound files as they are now. What was done, line by line.
    """
    by_folder: dict[Path, list[Finding]] = defaultdict(list)
    for finding in findings:
        by_folder[finding.path.parent].append(finding)
    for folder, found in by_folder.items():
        of_list = [finding for finding in found if finding.path.name == checksums.NAME]
        of_files = [finding.path for finding in found if finding.path.name != checksums.NAME]
        unlisted = [name for finding in of_list for name in finding.unlisted]
        if of_list or (folder / checksums.NAME).is_file():
            publishing.relist(folder, [path.name for path in of_files], unlisted)
        for finding in of_list:
            yield f"{finding.path}: written anew, of the files as they are now"
        for path in of_files:
            behind = [path.resolve()] if path.is_symlink() and path.exists() else []
            for each in [*behind, *([path] if path.is_symlink() or path.exists() else [])]:
                each.unlink()
                yield f"{each}: deleted"


def summary(results: Path, made: Scan) -> str:
    """One line: how much was checked, and by what."""
    held = made.files - made.without_sum - len(made.unknown)
    line = f"{results}: {plural(made.files, 'file')}, {held} held against their checksums"
    if made.without_sum:
        line += f", {made.without_sum} without one, of which only the format and the contents could be checked"
    if made.unknown:
        line += f"; {len(made.unknown)} that no step writes, such as {made.unknown[0]}, not checked"
    return line


def remedy(results: Path, findings: Sequence[Finding]) -> str:
    """How files that were damaged or lost are made again; nothing where only lists were."""
    ways = []
    names = [finding.path.relative_to(results) for finding in findings if finding.path.name != checksums.NAME]
    if not names:
        return "all is sound again"
    if any(name.parts[0] == "audit" or name.stem == "detection" for name in names):
        ways.append("`snakemake guard`")
    if Path("report.html") in names:
        ways.append("`make report`")
    if len(ways) < len(names):
        ways.insert(0, "`snakemake`")
    return f"run {' and '.join(ways)} to make them again, with the --configfile that the study was run with, if any"
