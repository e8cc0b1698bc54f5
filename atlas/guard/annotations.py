"""What a verification found as workflow commands of GitHub Actions, which stand beside the change that is checked."""

from __future__ import annotations

from collections.abc import Iterator

from atlas.guard.report import UNDECIDED, Report


def annotated(report: Report) -> Iterator[str]:
    """A line for each check that failed, for what could not be judged, and at last for the verdict.

    One for a check, not for a tensor: of each kind ten are shown for a step, and the eleventh is dropped. The form is
    https://docs.github.com/actions/reference/workflow-commands-for-github-actions#setting-an-error-message
    """
    for check in report.failed:
        yield annotation("error", f"{check.name}: {check.detail}", report.checkpoint)
    for check in report.checks:
        if check.detail.startswith(UNDECIDED):
            yield annotation("warning", f"{check.name}: {check.detail}", report.checkpoint)
    for what, why in report.not_checked.items():
        yield annotation("warning", f"not checked: {what} ({why})", report.checkpoint)
    if report.passed:
        yield annotation("notice", f"passed all {len(report.checks)} checks", report.checkpoint)


def annotation(level: str, message: str, file: str) -> str:
    """``::LEVEL file=FILE,title=atlas verify::MESSAGE``; what would end a line or a property is escaped."""
    escaped = message.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
    name = file.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A").replace(":", "%3A").replace(",", "%2C")
    return f"::{level} file={name},title=atlas verify::{escaped}"
