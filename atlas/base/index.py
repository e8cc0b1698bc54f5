"""The package index that pip is configured with, for the library unearth."""

from __future__ import annotations

import ast
import ssl
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from unearth import PackageFinder
from unearth.auth import MultiDomainBasicAuth
from unearth.fetchers import PyPIClient

from atlas.errors import AtlasError

SECTIONS = ("global", "download", ":env:")  # later ones win, as for `pip download`


def finder_of_pip(no_binary: Sequence[str] = ()) -> PackageFinder:
    """A finder that looks where ``pip download`` would: same indexes, folders, certificate, trusted hosts, time limit.

    Raises AtlasError where pip's configuration, or the certificate that it names, cannot be read.
    """
    options = pip_options()
    indexes = _indexes(options)
    client = PyPIClient(
        trusted_hosts=_words(options, "trusted-host"),
        verify=_trust(options["cert"]) if options.get("cert") else True,
        timeout=float(options.get("timeout", options.get("default-timeout", "15"))),
    )
    client.auth = MultiDomainBasicAuth(index_urls=indexes)
    folders = [_url(place) for place in _words(options, "find-links")]
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


def _indexes(options: Mapping[str, str]) -> list[str]:
    if options.get("no-index", "").lower() in ("1", "true", "yes", "on"):
        return []
    public = PackageFinder().sources[0]["url"]  # where unearth, like pip, looks unless told otherwise
    return [options.get("index-url", public), *_words(options, "extra-index-url")]


def _trust(certificates: str) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=certificates)
    except OSError as error:
        raise AtlasError(f"{certificates}: not a file of certificates ({error}); mend pip's option cert") from None


def _words(options: Mapping[str, str], key: str) -> list[str]:
    return options.get(key, "").split()


def _url(place: str) -> str:
    return place if "://" in place else Path(place).expanduser().resolve().as_uri()
