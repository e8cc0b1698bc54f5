"""What the file system refuses to this user, in one line: whose a folder is, and what to do about it."""

from __future__ import annotations

import errno
import os
import pwd
import stat
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

FULL = {errno.ENOSPC: "the disk is full", errno.EDQUOT: "the disk quota is used up"}
REFUSED = (errno.EACCES, errno.EPERM, errno.EROFS)
NO_FOLDER = (errno.ENOTDIR, errno.EEXIST)
SHOWN = 5  # folders


def not_writable(folder: Path) -> str | None:
    """Why this user cannot write files into ``folder``, which need not be there yet; None where nothing prevents it."""
    there = _first_that_is_there(folder)
    if not there.is_dir():
        return f"{there}: a file, where a folder is needed"
    return None if may(there, os.W_OK | os.X_OK) else refused(there, "write")


def refused(path: Path, what: str) -> str:
    """Why this user may not ``what`` a path (read or write it), and who can change that."""
    there = _first_that_is_there(path)
    if what == "write" and os.statvfs(there).f_flag & os.ST_RDONLY:
        return f"{there}: on a file system that is mounted read-only"
    found = there.stat()
    owner, mode = _name(found.st_uid), stat.filemode(found.st_mode)
    return f"{there}: {_name(os.geteuid())} may not {what} it, it belongs to {owner} ({mode})"


def in_words(error: OSError) -> str | None:
    """An error that the file system made, as one line; None where it is not about space or access."""
    place = f" while writing {error.filename}" if error.filename else ""
    if error.errno in FULL:
        return f"{FULL[error.errno]}{place}; make space and run the same command to go on"
    if error.filename is None or error.errno not in REFUSED + NO_FOLDER:
        return None
    path = Path(os.fsdecode(error.filename))
    if error.errno in NO_FOLDER:
        return not_writable(path)
    readable = may(_first_that_is_there(path), os.R_OK)
    return f"{refused(path, 'write' if readable else 'read')}; ask for access, or use a folder of your own"


def refuse_results(results: str, dryrun: bool) -> None:
    """End Snakemake in one line where nothing can be written to ``results``; a dry run only where that is no folder."""
    _end_for(Path(results, name) for name in ("", "logs") if not dryrun or Path(results).is_file())


def refuse_jobs(workflow: Any) -> None:
    """End Snakemake's ``workflow`` before its first job, in one line, where a job could not write its files or log."""
    jobs = workflow.dag.needrun_jobs()
    _end_for({Path(file).parent for job in jobs for file in (*job.output, *job.log)})


def _end_for(folders: Iterable[Path]) -> None:
    found = sorted({problem for folder in folders if (problem := not_writable(folder))})
    if found:
        more = f"; and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
        sys.exit(
            f"atlas: error: {'; '.join(found[:SHOWN])}{more}; ask for access, or give another folder: "
            "--config results=FOLDER"
        )


def may(path: Path, mode: int) -> bool:
    """Whether this process has access in a mode of ``os.access``, by the user and the rights that it acts with."""
    return os.access(path, mode, effective_ids=True)


def _first_that_is_there(path: Path) -> Path:
    """The path itself, or the folder that is there and in which it would be made."""
    there = next(each for each in (path, *path.parents) if os.path.lexists(each))
    return there if there.name else there.absolute()  # "." says little


def _name(user: int) -> str:
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return f"user {user}"
