"""What reruns after a change and what is said of it; test_edits.py has the table of edits."""

from __future__ import annotations

import ast
import copy as copying
import re
import subprocess
import sys
from pathlib import Path

from atlas.check.scan import scan
from atlas.workflow import digest
from tests.real.checkout import STUDY
from tests.real.test_edits import RESULTS, code, teach

RUN = "results/ttt/ffn/1-2/run.json"


def why(checkout, *arguments):
    """What ``atlas why`` prints in a checkout."""
    command = [sys.executable, "-m", "atlas.cli", "why", *arguments]
    return subprocess.run(command, cwd=checkout.root, env=checkout.environment, capture_output=True, text=True)


def said(checkout, *arguments):
    result = why(checkout, *arguments)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_no_step_calls_a_function_that_its_digest_leaves_out(finished):
    traced = sorted((finished.root / "calls").iterdir())
    assert len(traced) > 25
    for path in traced:
        check_calls(path, finished.root)


def check_calls(path, root):
    """What a step called is in its digest."""
    step = path.name.rpartition(".")[0]
    counted = digest.definitions_of(step, root)
    called = [line.split("\t") for line in path.read_text().splitlines()]
    assert called, step
    for file, name, line in called:
        module = ".".join(Path(file).relative_to(root).with_suffix("").parts).removesuffix(".__init__")
        assert name in counted.get(module, ()) or name.startswith("<"), f"{step} calls {module}.{name}, line {line}"


def test_snakemakes_own_reason_names_the_modules_that_changed(copy):
    code("atlas/ttt/engine/lora.py", "Adapters")(copy)
    reason = re.search(r"reason: .*before: (\[.*?\]) now: (\[.*?\])", copy.done("--dry-run"))
    assert reason
    before, now = (set(ast.literal_eval(parts)) for parts in reason.groups())
    assert {part.partition("=")[0] for part in before ^ now} == {"atlas.ttt.engine.lora"}


def test_a_lost_file_is_made_again_with_what_follows(copy):
    copy.file("ttt/qv/1-2/facts.parquet").unlink()
    assert copy.jobs() == teach("qv", blocks=["1-2"]) | RESULTS
    assert "teach arm=qv block=1-2\n  missing: results/ttt/qv/1-2/facts.parquet\n" in said(copy, "all")


def test_why_says_that_a_target_is_up_to_date(finished):
    assert said(finished, RUN) == f"{RUN}: up to date, nothing would run\n"
    assert said(finished, "all", "--cores", "1") == "all: up to date, nothing would run\n"


def test_why_names_the_setting_and_what_follows(copy):
    slower = copying.deepcopy(STUDY)
    slower["recipe"]["phases"]["slow"] = {"epochs": 2}
    slower["arms"]["ffn"]["ranks"] = 3
    copy.configure(slower)
    text = said(copy, "results/tables/retention.parquet")
    assert text.startswith("results/tables/retention.parquet: 5 jobs would run\n")
    both = r"arm=ffn block=[-\d]+; arm=ffn block=[-\d]+"
    assert re.search(rf"^teach {both}\n  setting changed: ranks: \[4, 4\] -> \[3, 3\]$", text, re.MULTILINE)
    assert "  setting changed: recipe.phases.slow.epochs: 1 -> 2\n" in text
    assert "tables_facts\n  follows teach, made again before it\n" in text


def test_why_names_the_section_of_the_study(copy):
    deeper = copying.deepcopy(STUDY)
    deeper["base"]["training"]["steps"] = 101
    copy.configure(deeper)
    text = said(copy, "base")
    assert re.search(
        r"^pretrain replica=\d; replica=\d\n  setting changed: base.training.steps: 100 -> 101$", text, re.M
    )


def test_why_names_modules_changed_and_added(copy):
    lora = copy.root / "atlas/ttt/engine/lora.py"
    lora.write_text(lora.read_text().replace("import torch\n", "import torch\nimport atlas.ttt.extra\n", 1))
    (copy.root / "atlas/ttt/extra.py").write_text("print('hello')\n")
    code("atlas/ttt/engine/lora.py", "Adapters")(copy)
    assert "  code changed: atlas.ttt.engine.lora, atlas.ttt.extra (now used)\n" in said(copy, RUN)


def test_why_names_the_input_that_changed_and_what_was_never_made(copy):
    with open(copy.root / "corpus-of-the-test.txt", "a") as file:
        file.write("More.\n")
    copy.configure({**copying.deepcopy(STUDY), "seeds": ["1-2", 3, 5]})
    text = said(copy, "ttt")
    assert "corpus\n  input changed: corpus-of-the-test.txt\n" in text
    assert "stream seed=5\n  not made yet\n" in text


def test_why_says_in_one_line_what_snakemake_cannot_plan(finished):
    unknown = why(finished, "results/tables/nothing.parquet")
    assert unknown.returncode == 1
    assert re.fullmatch(r"atlas: error: .*results/tables/nothing\.parquet.*\n", unknown.stderr), unknown.stderr
    wrong = why(finished, "all", "--config", "seeds=none")
    assert re.fullmatch(r"atlas: error: --config: seeds.*\n", wrong.stderr), wrong.stderr


def test_why_helps(finished):
    assert "atlas why TARGET [SNAKEMAKE OPTION ...]" in said(finished, "--help")


def test_to_ask_where_facts_sit_teaches_nothing_anew(copy, monkeypatch):
    """The step is run, and calls nothing that its digest leaves out; its files are sound."""
    calls = copy.root / "located"
    calls.mkdir()
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).with_name("tracing")))
    monkeypatch.setenv("ATLAS_CALLS", str(calls))
    asked = copying.deepcopy(STUDY)
    asked["arms"]["ffn"]["locate"] = {"windows": 1}
    copy.configure(asked)
    assert copy.jobs("ttt") == {"locate ffn 1-2", "locate ffn 3"}
    copy.done("results/ttt/ffn/3/slots.parquet")
    assert copy.jobs("ttt") == {"locate ffn 1-2"}
    made = scan(copy.file("."))
    assert (made.findings, made.unknown) == ([], [])
    (traced,) = calls.glob("atlas.ttt.locate.*")
    check_calls(traced, copy.root)
    asked["arms"]["ffn"]["locate"] = True
    copy.configure(asked)
    assert re.search(r"^locate arm=ffn block=3\n  setting changed: locate.windows: 1 -> 2$", said(copy, "ttt"), re.M)
