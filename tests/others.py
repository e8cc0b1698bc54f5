"""Commands run as another user, who may read everything and write nothing that is not theirs."""

import os
import subprocess

import pytest

OTHER = 65534  # nobody
# the environment of the tests may lie in root's home: without the right to search it, Python would not start
AS_OTHER = ["setpriv", f"--reuid={OTHER}", f"--regid={OTHER}", "--clear-groups"]
AS_OTHER += [f"--{kind}=-all,+dac_read_search" for kind in ("inh-caps", "ambient-caps", "bounding-set")]


def as_other(command, **options):
    """Run a command as another user, stdout and stderr together; skips the test where that cannot be."""
    if os.geteuid() or subprocess.run([*AS_OTHER, "true"], check=False, capture_output=True).returncode:
        pytest.skip("only root can become another user, by util-linux's setpriv")
    return subprocess.run(
        [*AS_OTHER, *command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, **options
    )
