"""What a verification found: the checks, by which a checkpoint is certified, told to programs, callers and people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, NamedTuple

from rich.console import Console
from rich.table import Table
from rich.text import Text

from atlas.errors import AtlasError

LOSS = "the loss, and whether every module does its part"  # what takes a text, where there was none
COLUMNS = ("module", "check", "measured", "limit", "verdict")
UNDECIDED = "not judged"  # how a check's detail begins where its figures could not tell
NOTE = "note"  # and where there is something to know of what passed
ONE_CAUSE = "one cause: "  # and where many rows have a single reason

FITS = {
    "names": "the file has the model's tensors, no more and no fewer",
    "shapes": "every tensor has the model's shape",
    "dtypes": "every tensor has the model's dtype",
    "finite": "every value is finite",
}


Needs = Literal["file", "text", "manifest"]
"""What a check takes beside the checkpoint: nothing, a text in its language, its manifest."""


@dataclass(frozen=True)
class Check:
    """The outcome of one check: a value, the limit it was held against, and a plain sentence."""

    name: str
    passed: bool
    measured: float | None  # None where it is not a finite number, which JSON cannot hold
    limit: float
    detail: str
    tensors: list[str] = field(default_factory=list)  # those that fail, all of them
    needs: Needs = "file"
    by_module: dict[str, float | None] = field(default_factory=dict)  # measured value of each that was looked at


class GuardError(AtlasError):
    """A checkpoint, or a model that should hold one, failed verification. ``failed`` has the checks."""

    def __init__(self, message: str, failed: Sequence[Check] = ()) -> None:  # a default, so that it can be pickled
        super().__init__(message)
        self.failed = list(failed)


@dataclass(frozen=True)
class Certificate:
    """The checks, and the fingerprint of the weights they were made on. Its fields are the keys of JSON."""

    passed: bool
    fingerprint: str
    checks: list[Check]

    @classmethod
    def of(cls, checks: Sequence[Check], fingerprint: str) -> Certificate:
        """It passed where all checks did."""
        return cls(all(check.passed for check in checks), fingerprint, list(checks))

    @property
    def failed(self) -> list[Check]:
        return [check for check in self.checks if not check.passed]


@dataclass(frozen=True)
class Report(Certificate):
    """A certificate with what it was made from: the content of ``atlas verify --json``."""

    checkpoint: str
    model: str  # architecture and size, in words
    manifest: str | None
    text: str | None  # file that the loss was measured on
    not_checked: dict[str, str]  # checks that could not be made, and why

    @classmethod
    def of_checks(
        cls,
        certificate: Certificate,
        checkpoint: Path,
        model: str,
        not_checked: Mapping[str, str],
        manifest: Path | None = None,
        text: Path | None = None,
    ) -> Report:
        missing = dict(not_checked)
        if any(check.name in FITS for check in certificate.failed):
            missing = {"all that needs a model that loads": "the file does not fit, see above", **missing}
        return cls(
            **vars(certificate),
            checkpoint=str(checkpoint),
            model=model,
            manifest=str(manifest) if manifest else None,
            text=str(text) if text else None,
            not_checked=missing,
        )


class _Line(NamedTuple):
    """One row of a table: a module under a check."""

    module: str
    check: Check
    measured: float | None
    failed: bool
    problem: str = ""


def printable(text: str) -> str:
    """Text with its control characters spelt out: names in a file may hold what a terminal would obey."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def insist(certificate: Certificate, checkpoint: Path | str, mend: str = "no certificate; retrain it") -> None:
    """Raise GuardError, naming every check that failed and every tensor that fails it, unless all passed."""
    if failed := certificate.failed:
        named = ", ".join(f"{check.name} ({check.detail})" for check in failed)
        many = "1 check" if len(failed) == 1 else f"{len(failed)} checks"
        raise GuardError(printable(f"{checkpoint}: failed {many}: {named}; {mend}"), failed)


def show(report: Report, console: Console, everything: bool = False) -> None:
    """Print a report: failures by module first, then a line a check with its worst module, or all modules."""
    report = _printable(report)
    console.print(Text(f"{report.checkpoint}: {report.model}"), soft_wrap=True)
    failed = report.failed
    for check in failed:
        if check.detail.startswith(ONE_CAUSE):  # before the rows that it explains
            console.print(Text(f"{check.name}: {check.detail.partition('; ')[0]}", "bold"), soft_wrap=True)
    if failed and not everything:
        console.print(_table([line for check in failed for line in _lines(check) if line.failed], "Failed"))
        for check in failed:
            if check.needs == "text":  # says what would mend the model, which its tensors alone do not
                console.print(Text(f"{check.name}: {check.detail}"), soft_wrap=True)
        console.print()
    lines = [line for check in report.checks for line in (_lines(check) if everything else [_worst(check)])]
    console.print(_table(lines, "All modules" if everything else "All checks, each with its worst module"))
    for check in report.checks:
        if check.passed and check.detail.startswith((UNDECIDED, NOTE)):
            console.print(Text(f"{check.name}: {check.detail}", style="yellow"), soft_wrap=True)
    for what, why in report.not_checked.items():
        console.print(Text(f"not checked: {what} ({why})", style="yellow"), soft_wrap=True)
    console.print(f"fingerprint {report.fingerprint}", soft_wrap=True, highlight=False)
    console.print(_verdict(report))


def _verdict(report: Report) -> Text:
    """The last line, which never reads like a pass where something that decides was not judged."""
    made, read = len(report.checks), [check for check in report.checks if check.needs == "text"]
    if report.failed:
        return Text(f"FAILED {len(report.failed)} of {made} checks", "bold red")
    if LOSS in report.not_checked or any(check.detail.startswith(UNDECIDED) for check in read):
        return Text(f"passed {made} checks, but not whether every tensor is in its place: see above", "yellow")
    return Text(f"passed all {made} checks", "green")


def _printable(report: Report) -> Report:
    """The report with all that came out of files made safe to print."""
    checks = [
        replace(
            check,
            detail=printable(check.detail),
            tensors=[printable(tensor) for tensor in check.tensors],
            by_module={printable(module): measured for module, measured in check.by_module.items()},
        )
        for check in report.checks
    ]
    missing = {what: printable(why) for what, why in report.not_checked.items()}
    checkpoint, model = printable(report.checkpoint), printable(report.model)
    return replace(report, checks=checks, not_checked=missing, checkpoint=checkpoint, model=model)


def _lines(check: Check) -> Iterator[_Line]:
    """A row a module that was measured; failing tensors without a measure of their own follow."""
    for module, measured in check.by_module.items():
        named = not check.tensors or any(_same(module, tensor) for tensor in check.tensors)
        yield _Line(module, check, measured, not check.passed and named)
    rest = [tensor for tensor in check.tensors if not any(_same(module, tensor) for module in check.by_module)]
    problems = dict(sentence.partition(": ")[::2] for sentence in check.detail.split("; "))
    for tensor in rest:
        yield _Line(tensor, check, None, True, problems.get(tensor, ""))
    if not check.by_module and not rest:
        yield _Line("all", check, check.measured, not check.passed, "" if check.passed else check.detail)


def _worst(check: Check) -> _Line:
    """The row of the module whose measure is the check's own."""
    lines = list(_lines(check))
    worst = next((line.module for line in lines if line.measured == check.measured), None)
    many = f"{len(check.tensors)} tensors" if len(check.tensors) > 1 else "".join(check.tensors)
    return _Line((many if not check.passed else "") or worst or "all", check, check.measured, not check.passed)


def _same(module: str, tensor: str) -> bool:
    """Whether a measured module is a tensor or a part of it ("c_attn.weight[q]")."""
    return module == tensor or module.startswith(f"{tensor}[")


def _table(lines: Sequence[_Line], title: str) -> Table:
    columns = (*COLUMNS, "") if any(line.problem for line in lines) else COLUMNS
    table = Table(*columns, box=None, pad_edge=False, title=title, title_justify="left", title_style="bold")
    for column in table.columns:
        column.overflow = "fold"
    for line in lines:
        verdict = Text("FAILED", "bold red") if line.failed else Text("passed", "green")
        unmeasured = "" if line.problem else "not finite" if line.failed else UNDECIDED
        figures = unmeasured if line.measured is None else f"{line.measured:.4g}", f"{line.check.limit:.4g}"
        row = (Text(line.module), line.check.name, *figures, verdict, Text(line.problem))
        table.add_row(*row[: len(columns)])
    return table
