"""What ``atlas verify --github`` prints is what GitHub Actions reads."""

import io
import re

from rich.console import Console

from atlas.guard.annotations import annotated, annotation
from atlas.guard.report import Check, Report, show
from tests.guard.foreign_models import saved

COMMAND = re.compile(r"::(error|warning|notice) file=([^:,]+),title=atlas verify::(.+)")


def report_of(*checks, not_checked=None):
    passed = all(check.passed for check in checks)
    return Report(passed, "f" * 64, list(checks), "model.safetensors", "a model", None, None, not_checked or {})


def test_a_line_for_each_failed_check_and_for_what_was_not_judged():
    found = report_of(
        Check("names", False, 2.0, 0.0, "a: missing; b: missing", ["a", "b"]),
        Check("shapes", True, 0.0, 0.0, "every tensor has the model's shape"),
        Check("aligned", True, None, 5.0, "not judged: too small"),
        not_checked={"hashes": "no manifest"},
    )
    assert [COMMAND.findall(line)[0] for line in annotated(found)] == [
        ("error", "model.safetensors", "names: a: missing; b: missing"),
        ("warning", "model.safetensors", "aligned: not judged: too small"),
        ("warning", "model.safetensors", "not checked: hashes (no manifest)"),
    ]


def test_a_pass_says_so_at_the_end():
    (line,) = annotated(report_of(Check("names", True, 0.0, 0.0, "")))
    assert line == "::notice file=model.safetensors,title=atlas verify::passed all 1 checks"


def test_a_name_cannot_end_a_line_or_a_property():
    line = annotation("error", "100% of\r\n::error::made up", "a,b:c%\nd")
    assert line == "::error file=a%2Cb%3Ac%25%0Ad,title=atlas verify::100%25 of%0D%0A::error::made up"


def test_the_command_prints_nothing_else(tmp_path, atlas_verify):
    code, out, _ = atlas_verify(saved(tmp_path / "fresh", "llama", trained=False), "--github")
    assert code == 1
    lines = out.splitlines()
    assert all(COMMAND.fullmatch(line) for line in lines)
    assert sum(line.startswith("::error") for line in lines) >= 1
    assert not any(line.startswith("::notice") for line in lines)


def test_a_check_that_judged_nothing_is_told_from_a_measure_that_is_no_number():
    out = io.StringIO()
    console = Console(file=out, width=100)
    show(report_of(Check("wiring", True, None, 0.01, "not judged: no text")), console)
    show(report_of(Check("blocks", False, None, 5.0, "no number", ["a"])), console)
    lines = out.getvalue().splitlines()
    wiring, blocks = (next(line for line in lines if f" {name} " in line) for name in ("wiring", "blocks"))
    assert wiring.split()[2:] == ["not", "judged", "0.01", "passed"]
    assert "not finite" in blocks or "no number" in blocks
