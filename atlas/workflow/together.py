"""Several steps in one process, one after another: what they import is imported once, which is most of a short step.

    python -m atlas.workflow.together "package.step --out FILE" "package.other --out FILE"

A step that fails does not stop those behind it; Ctrl-C and a full disk do.
"""

from __future__ import annotations

import argparse
import runpy
import shlex
import sys
import traceback
import warnings
from collections.abc import Sequence

from atlas.workflow import interrupts
from atlas.workflow.steps import EXIT_MISTAKE

EXIT_USAGE = 2  # of argparse; what lies above, Ctrl-C and a full disk, ends the steps behind, too


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the steps that the command line names; leave with a line that names those that failed."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("steps", nargs="+", metavar="STEP", help="a module and its options, quoted as one word")
    # a step that another one takes something from is run apart from what is imported, as it would be alone
    warnings.filterwarnings("ignore", "'.*' found in sys.modules", RuntimeWarning)
    commands = [shlex.split(line) for line in options.parse_args(arguments).steps]
    failed = []
    for command in commands:
        interrupts.end_at_once()  # as while a process begins: the step before left nothing to interrupt
        code = ended(command)
        if code > EXIT_USAGE:
            sys.exit(code)
        if code:
            failed.append(command[0])
    if failed:
        print(
            f"atlas: {', '.join(failed)} failed, {len(commands) - len(failed)} of {len(commands)} steps did not; "
            "Snakemake removes what the job made, and makes all of it again when the cause is mended",
            file=sys.stderr,
            flush=True,
        )
        sys.exit(EXIT_MISTAKE)


def ended(command: Sequence[str]) -> int:
    """Run a step as ``python -m`` would; its exit code."""
    sys.argv = list(command)
    try:
        runpy.run_module(command[0], run_name="__main__", alter_sys=True)
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except Exception:
        traceback.print_exc()
        return EXIT_MISTAKE
    return 0


if __name__ == "__main__":
    main()
