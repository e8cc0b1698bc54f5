"""The command ``atlas verify``, as a user calls it."""

import sys

import pytest

from atlas import cli


@pytest.fixture
def atlas_verify(monkeypatch, capsys):
    """Run the command; gives its exit code, output and error output."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["atlas", "verify", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return ended.value.code, *capsys.readouterr()

    return run
