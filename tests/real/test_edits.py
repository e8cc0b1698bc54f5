"""The table of edits: what is edited in a finished study, and exactly which jobs Snakemake then lists."""

from __future__ import annotations

import ast
import copy as copying
import os
import re
from importlib import metadata

import pytest

from tests.real.checkout import STUDY

ARMS = ("qv", "ffn", "qv_single_phase")
BATCHES = "facts sessions comparisons"


def jobs(rule, names, *more):
    return {" ".join([rule, name, *more]) for name in names}


def teach(*arms, blocks=("1-2", "3")):
    return {job for block in blocks for job in jobs("teach", arms or ARMS, block)}


def tables(batches=BATCHES):
    return {f"tables_{batch}" for batch in batches.split()}


def charts(batches=BATCHES):
    return {f"charts_{batch}" for batch in batches.split()}


def given(*names):
    return jobs("given", names)


STREAMS = jobs("stream", "123")
GIVEN = given("arms.txt", "arms_and_ablations.txt", "ablations.txt")
SHOWN = charts() | {"prose", "page"}
RESULTS = tables() | SHOWN
TAUGHT = teach() | RESULTS
CERTIFY = jobs("certify", "12")
BASE = jobs("pretrain", "12") | CERTIFY
MEASURE = jobs("measure_base", "12")
MEASURED = MEASURE | TAUGHT
# a table of the arms' own runs does not read the ablation
ABLATION_ONLY = tables("comparisons") | charts("comparisons") | {"prose", "page"}


def code(name, definition):
    """A real edit in a definition of a module: one more statement at the top of its body."""

    def edit(checkout):
        path = checkout.root / name
        node = next(n for n in ast.parse(path.read_text()).body if getattr(n, "name", None) == definition)
        body = node.body[1:] if ast.get_docstring(node) else node.body
        lines = path.read_text().splitlines(keepends=True)
        lines.insert(body[0].lineno - 1 - len(getattr(body[0], "decorator_list", ())), "    edited_here: int = 1\n")
        path.write_text("".join(lines))

    return edit


def text(name, change):
    """The text of a file, changed by a function."""

    def edit(checkout):
        path = checkout.root / name
        path.parent.mkdir(exist_ok=True)
        before = path.read_text() if path.exists() else ""
        path.write_text(change(before))
        assert path.read_text() != before

    return edit


def replaced(name, old, new):
    def change(before):
        assert old in before, (name, old)
        return before.replace(old, new, 1)

    return text(name, change)


def appended(name, more):
    return text(name, lambda before: before + more)


def touched(name):
    return lambda checkout: os.utime(checkout.root / name)


def reformatted(name):
    """Other layout, same code: more brackets and breaks, no comments."""

    def change(before):
        return ast.unparse(ast.parse(before)).replace("return ", "return   ") + "\n\n\n"

    return text(name, change)


def installed(name, version="999.0"):
    """Another version of a package: Python finds what lies in the checkout before what is installed."""

    def edit(checkout):
        told = metadata.distribution(name).read_text("METADATA") or ""
        (checkout.root / f"{name}-{version}.dist-info").mkdir()
        path = checkout.root / f"{name}-{version}.dist-info" / "METADATA"
        path.write_text(re.sub("^Version: .*$", f"Version: {version}", told, count=1, flags=re.MULTILINE))

    return edit


def config(**changes):
    return lambda checkout: checkout.configure({**copying.deepcopy(STUDY), **changes})


def of(section, **changes):
    """The study with some keys of one section changed."""
    return {section: {**copying.deepcopy(STUDY[section]), **changes}}


def phases(**changes):
    """The recipe with some of its phases changed."""
    return {"phases": {**STUDY["recipe"]["phases"], **changes}}


UNSEEN = "\n\ndef nobody_calls_this():\n    return 1\n"
NOTHING = {
    "a comment": text("atlas/ttt/engine/lora.py", lambda before: "# A remark.\n" + before),
    "a docstring": replaced("atlas/base/model.py", '"""The base model', '"""A base model'),
    "the layout of a file": reformatted("atlas/workflow/files.py"),
    "a help text": replaced("atlas/workflow/steps.py", 'help="file that gets', 'help="a file that gets'),
    "the description of a key": replaced(
        "atlas/study/recipes/__init__.py", 'description="beta 2 of Adam"', 'description="its beta 2"'
    ),
    "the message of a raised error": replaced(
        "atlas/pool/facts.py", "is there twice; remake", "is in it twice; remake"
    ),
    "the version": replaced("atlas/__init__.py", '__version__ = "', '__version__ = "9.'),
    "a test": appended("tests/test_of_mine.py", "def test():\n    assert True\n"),
    "a page of docs": appended("docs/mine.md", "# Mine\n"),
    "a function that no step calls": appended("atlas/workflow/files.py", UNSEEN),
    "a function that only the command calls": code("atlas/study/config.py", "load"),
    "a section of the study that only the guard reads": code("atlas/study/config.py", "Guard"),
    "what is asked where facts sit, where no arm asks": code("atlas/study/arm.py", "Locating"),
    "a module that only a command uses": code("atlas/tables/plan.py", "advice"),
    "a profile": appended("profiles/default/config.yaml", "printshellcmds: true\n"),
    "how other projects' checkpoints are read": code("atlas/guard/verification.py", "read_foreign"),
    "an editor, where no arm edits": code("atlas/ttt/editors/rome.py", "Rome"),
    "a chart without choices": code("atlas/charts/trace.py", "charts"),
    "a comment in the lock file": appended("requirements.lock", "# a remark\n"),
    "another version in the lock file, not installed": replaced("requirements.lock", "torch==", "torch==9."),
    "another snakemake": installed("snakemake"),
    "transformers, where no base is from outside": installed("transformers"),
    "a torch for CUDA": installed("torch", f"{metadata.version('torch').partition('+')[0]}+cu999"),
    "the user's own corpus, saved as it was": lambda checkout: (checkout.root / "corpus-of-the-test.txt").touch(),
    "more bases than there are blocks, the interval asked for, the guard's study": config(
        **of("base", replicas=3), interval={"contrast": ["qv", "ffn"], "points": 3}, guard={"seeds": 1}
    ),
}
EDITS = {
    # code: the steps that use it, and what follows
    "how facts are drawn": (code("atlas/pool/build.py", "build"), {"facts"} | STREAMS | MEASURED),
    "the order of teaching": (code("atlas/pool/streams.py", "draw"), STREAMS | TAUGHT),
    "the corpus": (code("atlas/base/corpus.py", "own_text"), {"corpus"} | BASE | MEASURED),
    "pretraining": (code("atlas/base/pretrain.py", "train"), BASE | MEASURED),
    "a check of the base": (code("atlas/guard/value_checks.py", "static"), CERTIFY | MEASURED),
    "the adapters": (code("atlas/ttt/engine/lora.py", "Adapters"), TAUGHT),
    "how lines score": (code("atlas/ttt/engine/scoring.py", "passes"), MEASURED),
    "a table": (code("atlas/tables/base_loss.py", "table"), tables("sessions") | charts("sessions") | {"page"}),
    "a table of facts": (
        code("atlas/tables/capacity.py", "table"),
        tables("facts") | charts("facts sessions") | {"page"},  # these have the colours of the arms
    ),
    "a chart": (code("atlas/charts/base_loss.py", "charts"), charts("sessions") | {"page"}),
    "what runs several steps": (code("atlas/workflow/together.py", "ended"), RESULTS),
    "the library that draws": (code("atlas/charts/library.py", "main"), {"library", "page"} | charts()),
    "the page": (code("atlas/page/page.py", "render"), {"page"}),
    # files that are no code
    "the ledger of claims": (
        appended("atlas/tables/claims.yaml", "# a remark, in a file that counts byte by byte\n"),
        tables("comparisons") | charts("comparisons facts") | {"prose", "page"},
    ),
    "the message of an error that the ledger writes down": (
        replaced("atlas/tables/quantities.py", "all domains of the study are", "the domains of the study are all"),
        tables("comparisons") | charts("comparisons") | {"prose", "page"},
    ),
    "a caption": (appended("report/base_loss.rst", "More.\n"), {"page"}),
    "the template of the page": (appended("atlas/page/templates/page.html", "<!-- -->\n"), {"page"}),
    "the template of the ledger in words": (
        appended("atlas/page/templates/ledger.md.jinja", "{# a remark #}\n"),
        {"prose"},
    ),
    "another numpy": (installed("numpy"), {"facts", "corpus"} | STREAMS | BASE | MEASURED),
    "another torch": (installed("torch"), BASE | MEASURED),
    "another pandas": (installed("pandas"), RESULTS),
    "another altair": (installed("altair"), charts() | {"page"}),
    "another unearth, which fetches": (installed("unearth"), {"corpus"} | BASE | MEASURED),
    "the user's own corpus": (appended("corpus-of-the-test.txt", "More.\n"), {"corpus"} | BASE | MEASURED),
    # the study
    "an arm": (config(**of("arms", ffn={"targets": ["up", "down"], "ranks": 3})), teach("ffn") | RESULTS),
    "a new arm": (
        config(**of("arms", out={"targets": ["o"], "ranks": 2})),
        teach("out") | RESULTS | given("arms.txt", "arms_and_ablations.txt"),
    ),
    "an arm fewer": (
        config(arms={"qv": STUDY["arms"]["qv"]}, contrasts={"recipe": STUDY["contrasts"]["recipe"]}),
        RESULTS | given("arms.txt", "arms_and_ablations.txt", "contrasts.json"),
    ),
    "a new seed": (config(seeds=["1-2", 3, 5]), {"stream 5"} | teach(blocks=["5"]) | RESULTS | GIVEN),
    "an ablation": (
        config(
            **of(
                "ablations",
                qv_single_phase={**STUDY["ablations"]["qv_single_phase"], "recipe": {"phases": {"slow": None}}},
            )
        ),
        teach("qv_single_phase") | ABLATION_ONLY,
    ),
    "a key of the recipe": (
        config(recipe=phases(slow={"epochs": 2})),
        TAUGHT,
    ),
    "a key of the recipe that the ablation has switched off": (
        config(recipe=phases(fast={"steps": 3})),
        teach("qv", "ffn") | RESULTS,
    ),
    "a checkpoint fewer": (config(checkpoints=[2]), TAUGHT),
    "the text that side effects are measured on": (config(probes={"val_tokens": 300}), MEASURED),
    "the retention matrix": (config(probes={**STUDY["probes"], "matrix": "all"}), TAUGHT),
    "the checkpoints of the ablations": (config(ablation_checkpoints=[2]), teach("qv_single_phase") | ABLATION_ONLY),
    "the pool": (config(**of("pool", seed=7)), {"facts"} | STREAMS | MEASURED),
    "the base": (config(**of("base", seed=7)), BASE | MEASURED),
    "one base for all": (config(**of("base", replicas=1)), teach(blocks=["3"]) | RESULTS),
    "the comparisons": (
        config(contrasts={"places": STUDY["contrasts"]["places"]}),
        ABLATION_ONLY | given("contrasts.json"),
    ),
}


def test_edits_that_mean_nothing_rerun_nothing(copy):
    """All of them at once: the reason that Snakemake prints for a rerun names the one that is to blame."""
    for edit in NOTHING.values():
        edit(copy)
    assert copy.jobs() == set(), copy.done("--dry-run")


@pytest.mark.parametrize(("edit", "expected"), EDITS.values(), ids=EDITS)
def test_an_edit_reruns_exactly(copy, edit, expected):
    edit(copy)
    assert copy.jobs() == expected


def test_the_users_own_pool_counts_by_its_bytes(copy):
    own = copy.root / "own.csv"
    rows = [f"f{i},codes,the question {i} has the answer ,a{i},the answer to question {i} is " for i in range(36)]
    own.write_text("fact_id,domain,prompt,answer,rephrases\n" + "\n".join(rows) + "\n")
    copy.configure({**copying.deepcopy(STUDY), "pool": {"source": "own.csv", "taught": 24, "placebo": 12}})
    copy.done("--touch")  # as if all had been made from it
    os.utime(own)
    assert copy.jobs() == set()
    own.write_text(own.read_text().replace("question 3 ", "question three "))
    assert copy.jobs() == {"facts"} | STREAMS | MEASURED


def test_a_study_of_editors_alone_has_no_chart_of_facts_per_trained_parameter(fresh):
    """Nothing is trained there, so the table behind it is empty."""
    alone = {"rome": {"method": "rome", "editing": {"layer": 1}}}
    for arms, there in ((alone, False), (alone | {"qv": STUDY["arms"]["qv"]}, True)):
        fresh.configure(STUDY | {"arms": arms, "ablations": {}, "contrasts": {}, "interval": None})
        listed = fresh.done("--dry-run", "charts")
        assert ("charts/capacity.svg" in listed) is there
        assert "charts/baselines.svg" in listed
