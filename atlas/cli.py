"""The command ``atlas``: looks at what the workflow uses and makes, without running it.

Each command imports what it takes: ``--help`` is quick, and ``atlas verify`` works where the guard is installed alone.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from atlas import __version__
from atlas.errors import INSTALL_WORKFLOW, AtlasError
from atlas.memory import commands as memory
from atlas.metrics import CHOICES, document
from atlas.phrases import plural
from atlas.workflow.steps import run_step

if TYPE_CHECKING:
    from pydantic import BaseModel

    from atlas.guard.report import Report

# as atlas.ttt.run_files has them, which is slow to import
PROBES = ["taught", "rephrase", "placebo", "neighbour", "hop", "reversed"]
WIDE = 200  # columns of a table that goes to a file or a pipe: names stay on one line

PARSER = argparse.ArgumentParser(
    prog="atlas", description="Look at what the workflow of Atlas uses and makes. To run the study, use `snakemake`."
)
PARSER.add_argument("--version", action="version", version=f"atlas {__version__}")
COMMANDS = PARSER.add_subparsers(title="commands", required=True, metavar="COMMAND")

Option = tuple[tuple[str, ...], dict[str, Any]]
Run = Callable[[argparse.Namespace], None]


def main() -> None:
    """Entry point of the command; exit codes as in ``atlas.workflow.steps.run_step``."""
    run_step(_main)


def _main() -> None:
    try:
        arguments = PARSER.parse_args()
    except SystemExit as ended:
        if ended.code and {"verify", "--json"} <= {*sys.argv}:
            print(json.dumps({"passed": False, "error": "the command line is wrong; stderr says how"}))
        raise
    try:
        arguments.run(arguments)
    except ModuleNotFoundError as error:
        if not error.name or error.name.partition(".")[0] == "atlas":
            raise
        raise AtlasError(f"the package {error.name} is not installed; {INSTALL_WORKFLOW}") from None


def _option(*flags: str, **settings: Any) -> Option:
    """An option of a command, as ``add_argument`` takes it."""
    return flags, settings


def _command(text: str, *options: Option, **said: Any) -> Callable[[Run], Run]:
    """Make a function that is called ``_NAME`` the command ``atlas NAME``."""

    def entered(run: Run) -> Run:
        command = COMMANDS.add_parser(run.__name__.removeprefix("_"), help=text, description=text, **said)
        command.set_defaults(run=run)
        for flags, settings in options:
            command.add_argument(*flags, **settings)
        return run

    return entered


STUDY = _option(
    "--study",
    nargs="+",
    type=Path,
    default=[Path("config.yaml")],
    metavar="FILE",
    help="study files, later ones laid on top (default: config.yaml)",
)
RESULTS = _option("--results", type=Path, help="folder of the results (default: that of the study)")


def _results(arguments: argparse.Namespace) -> Path:
    from atlas.study import config

    return arguments.results or Path(config.load(*arguments.study).results)


def _write(text: str, out: Path | None) -> None:
    if out:
        from atlas.workflow import files

        files.write_text(out, text)
    else:
        sys.stdout.write(text)


@_command(
    "Check a checkpoint; exit 0 where all checks pass, else 1.",
    _option(
        "checkpoint",
        type=Path,
        help="safetensors or GGUF file, model.safetensors.index.json, or their folder; or an adapter's",
    ),
    _option("--manifest", type=Path, help="its manifest (default: the .json of the same name, if there)"),
    _option(
        "--corpus",
        type=Path,
        help="text to measure the loss on (default: corpus.txt beside it or one folder up)",
    ),
    _option("--against", type=Path, metavar="FOLDER", help="of a GGUF file: the safetensors that it was made from"),
    _option(
        "--base", type=Path, metavar="MODEL", help="of an adapter, the model that it adapts (default: as it names)"
    ),
    _option(
        "--text",
        metavar="FILE",
        help="of another project's language model: run it on this text, to tell whether every tensor is in its place; "
        "'english' is one that is at hand (takes the package transformers, and tokenizer.json in the folder)",
    ),
    _option("--all", action="store_true", help="show every module under every check, not only the worst"),
    _option("--json", action="store_true", help="print the whole report as JSON instead of tables"),
    _option("--github", action="store_true", help="print annotations of GitHub Actions instead of tables"),
    epilog="Knows Atlas's own checkpoints and, with the transformers config.json beside them, those of OPT, GPT-2, "
    "GPT-NeoX, Llama, Mistral, Qwen2 and Qwen3; also GGUF files of Llama, Mistral, GPT-2, Qwen2 and Qwen3, which "
    "hold their config themselves (takes the packages transformers and gguf). For a model in memory: "
    "atlas.verify(model, checkpoint), see docs/guard.md.",
)
def _verify(arguments: argparse.Namespace) -> None:
    from atlas.guard.report import printable  # takes torch, which is slow to import

    try:
        _inspected(arguments)
    except AtlasError as error:
        raise AtlasError(printable(str(error))) from None


def _inspected(arguments: argparse.Namespace) -> None:
    from rich.console import Console

    from atlas.guard import report
    from atlas.guard.annotations import annotated, annotation

    try:
        found = _report(arguments)
    except Exception as error:
        if arguments.json:  # a program that reads it gets JSON whatever happens
            failed = {"passed": False, "checkpoint": str(arguments.checkpoint), "error": str(error)}
            print(json.dumps(failed, indent=2))
        if arguments.github:
            print(annotation("error", str(error), str(arguments.checkpoint)))
        raise
    if arguments.json:
        print(json.dumps(asdict(found), indent=2))
    elif arguments.github:
        print(*annotated(found), sep="\n")
    else:
        report.show(found, Console(width=None if sys.stdout.isatty() else WIDE), arguments.all)
    if not found.passed:
        failing = ", ".join(check.name for check in found.failed)
        raise AtlasError(f"{arguments.checkpoint}: failed {failing}, by the modules named above; do not use it")


def _report(arguments: argparse.Namespace) -> Report:
    """What is found in the checkpoint that `atlas verify` is given. AtlasError for an option that it does not use."""
    from atlas.guard import adapters
    from atlas.guard.verification import NOT_CHECKED, inspect_foreign

    path, adapter = arguments.checkpoint, adapters.is_adapter(arguments.checkpoint)
    if unused := [said for name, said in _unused(path, adapter, bool(arguments.against)) if vars(arguments)[name]]:
        raise AtlasError(f"{unused[0]}; leave it out")
    if len(shown := [name for name in ("json", "github", "all") if vars(arguments)[name]]) > 1:
        raise AtlasError(f"--{shown[-1]}: not used with --{shown[0]}, which holds everything; leave it out")
    if arguments.against:
        from atlas.guard.quantised import compare

        return compare(path, arguments.against)
    if adapter:
        return adapters.inspect(path, arguments.base)
    try:
        from atlas.base.inspection import inspect
    except ModuleNotFoundError as error:  # the guard is installed alone
        if beside := arguments.manifest or arguments.corpus:
            raise AtlasError(f"{beside}: goes with checkpoints of Atlas's own; {INSTALL_WORKFLOW}") from error
        own = {"what else is known of a checkpoint of Atlas's own": INSTALL_WORKFLOW}
        return inspect_foreign(path, NOT_CHECKED | own, arguments.text)
    return inspect(path, arguments.manifest, arguments.corpus, arguments.text)


def _unused(path: Path, adapter: bool, against: bool) -> Iterator[tuple[str, str]]:
    """Options that a checkpoint of a kind has no use for, and why."""
    if against:
        yield from ((name, f"--{name}: not used with --against") for name in ("manifest", "corpus", "base", "text"))
    elif adapter:
        for name in ("manifest", "corpus"):
            yield name, f"--{name} goes with checkpoints of Atlas's own, and {path} is an adapter"
        yield "text", f"--text runs a whole model, and {path} is an adapter"
    else:
        yield "base", f"--base goes with the folder of an adapter, and {path} is none"


@_command(
    "Check a file of facts without a study: what breaks a rule, what could be taught; exit 0 where all is fit, else 1.",
    _option("file", type=Path, help="facts of your own, or as research publishes them"),
    _option("--model", type=Path, help="model from outside that would be taught (default: what is pretrained here)"),
    epilog="docs/pool.md has the rules.",
)
def _pool(arguments: argparse.Namespace) -> None:
    from atlas.pool import survey

    found = survey.sifted(arguments.file, arguments.model)
    print(survey.report(arguments.file, found))
    print(f"  {survey.roles(arguments.file, found)}")
    if found.unfit or found.parts:
        raise AtlasError(
            f"{arguments.file}: {found.said}; mend the file, or let a study leave them out: `unfit: skip` under `pool`"
        )


@_command(
    "Print the part of the study that one step depends on, as JSON for its --spec.",
    _option("step", choices=["pool", "base", "stream", "run"], help="of atlas.pool, atlas.base or atlas.ttt"),
    _option("name", nargs="?", help="replica of a base, seed of a stream, arm of a run (default: the first)"),
    _option("block", nargs="?", help="of a run's seeds, such as 1-4 (default: the first)"),
    STUDY,
)
def _spec(arguments: argparse.Namespace) -> None:
    from atlas.study import config

    study = config.load(*arguments.study)
    if arguments.step == "run":
        arm = _one_of("arm", arguments.name, [*study.arms, *study.ablations, *study.mapped])
        spec: BaseModel = study.run_spec(arm, _one_of("block", arguments.block, [*study.blocks]))
    elif arguments.step == "stream":
        seeds = [str(seed) for seed in (*study.all_seeds, *study.search.seeds)]
        spec = study.stream_spec(int(_one_of("seed", arguments.name, seeds)))
    elif arguments.step == "base":
        spec = study.base.spec(int(_one_of("replica", arguments.name, [*map(str, study.replicas)])))
    else:
        spec = study.pool_spec
    print(spec.model_dump_json(indent=2))


def _one_of(kind: str, name: str | None, known: list[str]) -> str:
    if name is not None and name not in known:
        raise AtlasError(f"{kind} {name!r} is not in the study; it has {', '.join(known)}")
    return name or known[0]


def schema_text() -> str:
    """The JSON schema of the study, as docs/study.schema.json holds it."""
    from atlas.study import config

    return json.dumps(config.Study.model_json_schema(), indent=2) + "\n"


@_command(
    "Print the JSON schema of config.yaml, for text editors.",
    _option("--out", type=Path, help="file to write instead (the repository keeps docs/study.schema.json)"),
)
def _schema(arguments: argparse.Namespace) -> None:
    _write(schema_text(), arguments.out)


@_command(
    "Print what every metric is, and what it may be compared with.",
    _option("--out", type=Path, help="file to write instead (the repository keeps docs/metrics.md)"),
)
def _metrics(arguments: argparse.Namespace) -> None:
    _write(document(), arguments.out)


@_command(
    "Fill the headline, tables and chart of the README from a study's results, or one block of README or docs.",
    _option("--readme", type=Path, help="file to fill (default: where the block stands, README.md or a page of docs/)"),
    _option("--real", type=Path, metavar="FOLDER", help="results of a study on a real model: fill its block instead"),
    _option("--found", type=Path, metavar="FOLDER", help="results of studies/search.yaml: fill their block instead"),
    _option("--ideas", type=Path, metavar="FOLDER", help="results of studies/ideas.yaml: fill their block instead"),
    _option("--seen", type=Path, metavar="FOLDER", help="results of `snakemake guard`: fill the block of what it sees"),
    _option("--tools", type=Path, metavar="FOLDER", help="the same results: fill the block of other tools"),
    STUDY,
)
def _readme(arguments: argparse.Namespace) -> None:
    from atlas.page import readme  # reads tables, which takes a second of imports
    from atlas.study import config
    from atlas.workflow import files

    filled = [
        (arguments.readme or stands, {name: block(folder)})
        for name, (stands, block) in readme.OF_OTHER_STUDIES.items()
        if (folder := vars(arguments)[name])
    ]
    if not filled:
        results, path = Path(config.load(*arguments.study).results), arguments.readme or Path("README.md")
        filled = [(path, readme.render(results))]
        readme.publish_picture(results, path.parent / "docs" / "img" / "retention.png")
    for path, blocks in filled:
        files.write_text(path, readme.filled(files.read_text(path), blocks, str(path)))


@_command(
    "Say what a study's seeds can decide, how many its interval needs, what they cost, and what to write.",
    _option("--cores", type=int, default=os.cpu_count(), help="cores that would run it (default: all here)"),
    STUDY,
)
def _plan(arguments: argparse.Namespace) -> None:
    from atlas.study import config
    from atlas.tables import plan  # reads runs, which takes a second of imports

    print(plan.advice(config.load(*arguments.study), arguments.cores))


@_command(
    "Find damaged, cut off and lost files of a study's results; exit 0 where all are sound, else 1.",
    _option("results", type=Path, nargs="?", help="folder to check (default: that of the study)"),
    _option("--remake", action="store_true", help="delete what is damaged: snakemake then makes it again"),
    STUDY,
    epilog="docs/robust.md says what is covered.",
)
def _check(arguments: argparse.Namespace) -> None:
    from atlas.check import scan  # takes torch, which is slow to import

    results = _results(arguments)
    found = scan.scan(results)
    for finding in found.findings:
        print(f"{finding.path}: {finding.problem}")
    print(scan.summary(results, found))
    if not found.findings:
        return
    if not arguments.remake:
        raise AtlasError(
            f"{results}: {plural(len(found.findings), 'file is', 'files are')} damaged or lost, see above; "
            f"`atlas check {results} --remake` deletes what is damaged (and writes lists of checksums anew), then your "
            "snakemake command makes all again"
        )
    for done in scan.mend(found.findings):
        print(done)
    print(f"atlas: now {scan.remedy(results, found.findings)}")


@_command(
    "Say in words which jobs Snakemake would run for a target, and why: files, settings, code.",
    _option("target", metavar="TARGET", help="a file below results/, or a rule such as all, ttt, tables"),
    _option("options", nargs=argparse.REMAINDER, help="passed on to `snakemake --dry-run`"),
    usage="atlas why TARGET [SNAKEMAKE OPTION ...]",
    epilog="Runs nothing. Examples: `atlas why all`; `atlas why results/tables/retention.parquet`; "
    "`atlas why all --configfile studies/quick.yaml`.",
)
def _why(arguments: argparse.Namespace) -> None:
    from atlas.workflow import why

    if not find_spec("snakemake"):
        raise ModuleNotFoundError(name="snakemake")
    print(why.explain(arguments.target, arguments.options))


@_command(
    "Print a table of the results: retention, claims, contrasts, any other; or the answers of an arm, word by word.",
    _option("table", nargs="?", default="retention", help="name of the table, or answers (default: retention)"),
    _option("--arm", nargs="+", default=[], help="rows about these arms only"),
    _option("--metric", nargs="+", default=[], help=", ".join(CHOICES)),
    _option("--domain", nargs="+", default=[], help="domains (default: all of them together)"),
    _option("--sessions", nargs="+", type=int, default=[], help="checkpoints (default: all; of answers the last)"),
    _option(
        "--probe", nargs="+", default=[], choices=PROBES, help="how facts were asked (default: all; of answers taught)"
    ),
    _option("--seed", nargs="+", type=int, default=[], help="seeds (default: all; of answers the first)"),
    _option("--wrong", action="store_true", help="of answers those that are wrong"),
    _option("--csv", action="store_true", help="print all columns as CSV, for another program"),
    RESULTS,
    STUDY,
)
def _show(arguments: argparse.Namespace) -> None:
    from rich.console import Console

    from atlas.page import answers, terminal  # reads tables, which takes a second of imports

    chosen = {name: getattr(arguments, name) for name in ("arm", "metric", "domain", "sessions", "probe", "seed")}
    choice, results = terminal.Choice(**chosen), _results(arguments)
    if arguments.table == answers.NAME:
        rows = answers.rows(results, choice, arguments.wrong)
    elif arguments.wrong:
        raise AtlasError(f"--wrong: goes with `atlas show answers`, not with {arguments.table}; leave it out")
    else:
        rows = terminal.rows(results / "tables", arguments.table, choice)
    if arguments.csv:
        print(rows.to_csv(index=False, lineterminator="\n"), end="")
    else:
        terminal.show(rows, arguments.table, Console(width=None if sys.stdout.isatty() else WIDE))


@_command(
    "Compare two arms in words: the paired difference and its verdict.",
    _option("first", metavar="A"),
    _option("second", metavar="B"),
    _option("--metric", default="recall", choices=CHOICES),
    _option("--probe", default="taught", choices=PROBES),
    _option("--domain", default="all"),
    _option("--sessions", type=int, help="checkpoint (default: the last one that both arms have)"),
    RESULTS,
    STUDY,
)
def _compare(arguments: argparse.Namespace) -> None:
    from atlas.page import terminal  # reads tables, which takes a second of imports

    wanted = terminal.Aspect(arguments.metric, arguments.probe, arguments.domain, arguments.sessions)
    print(terminal.compare(_results(arguments), arguments.first, arguments.second, wanted))


@_command(
    "Write the base, or a run's base and adapters, as transformers and PEFT load them, with model cards.",
    _option("source", type=Path, help="results/base/1, or the folder of a run, such as results/ttt/qv/1-4"),
    _option("out", type=Path, help="folder to write, new or empty: base/ and seed-N/ for a run"),
    _option("--base", type=Path, help="folder of the base that the run taught (default: that of its study)"),
)
def _export(arguments: argparse.Namespace) -> None:
    from atlas.page import model_card  # both take torch, which is slow to import
    from atlas.ttt import export

    study = model_card.measured(arguments.source)
    folders = export.export(arguments.source, arguments.out, arguments.base)
    model_card.write(study, folders, export.base_of(arguments.source, arguments.base))
    for folder in folders:
        print(f"{folder}: {export.how_to_load(folder)}")


memory.register(COMMANDS)

if __name__ == "__main__":
    main()
