"""The command ``atlas``: looks at what the workflow uses and makes, without running it."""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from atlas import __version__
from atlas.errors import AtlasError
from atlas.metrics import CHOICES
from atlas.study import config
from atlas.workflow import files
from atlas.workflow.steps import run_step

if TYPE_CHECKING:
    from collections.abc import Callable

    from pydantic import BaseModel

    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

WIDE = 200  # columns of a table that goes to a file or a pipe: names stay on one line


def main() -> None:
    """Entry point of the command; exit codes as in ``atlas.workflow.steps.run_step``."""
    run_step(_main)


def _main() -> None:
    arguments = _parser().parse_args()
    arguments.run(arguments)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="atlas",
        description="Look at what the workflow of Atlas uses and makes. To run the study, use `snakemake`.",
    )
    parser.add_argument("--version", action="version", version=f"atlas {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _add_verify(commands)
    _add_spec(commands)
    _add_schema(commands)
    _add_readme(commands)
    _add_plan(commands)
    _add_metrics(commands)
    _add_check(commands)
    _add_why(commands)
    _add_show(commands)
    _add_compare(commands)
    _add_export(commands)
    return parser


def _add(
    commands: Subparsers, name: str, run: Callable[[argparse.Namespace], None], text: str
) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=text, description=text)
    parser.set_defaults(run=run)
    return parser


def _add_study(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--study",
        nargs="+",
        type=Path,
        default=[Path("config.yaml")],
        metavar="FILE",
        help="study files, later ones laid on top (default: config.yaml)",
    )


def _add_verify(commands: Subparsers) -> None:
    parser = _add(commands, "verify", _verify, "Check a checkpoint; exit 0 where all checks pass, else 1.")
    parser.epilog = (
        "Knows Atlas's own checkpoints and, with the transformers config.json beside them, those of OPT, GPT-2, "
        "GPT-NeoX, Llama, Mistral, Qwen2 and Qwen3; also GGUF files of Llama, Mistral, GPT-2, Qwen2 and Qwen3, which "
        "hold their config themselves (takes the packages transformers and gguf). For a model in memory: "
        "atlas.verify(model, checkpoint), see docs/guard.md."
    )
    parser.add_argument(
        "checkpoint", type=Path, help="safetensors or GGUF file, model.safetensors.index.json, or their folder"
    )
    parser.add_argument("--manifest", type=Path, help="its manifest (default: the .json of the same name, if there)")
    parser.add_argument(
        "--corpus", type=Path, help="text to measure the loss on (default: corpus.txt beside it, if there)"
    )
    parser.add_argument("--all", action="store_true", help="show every module under every check, not only the worst")
    parser.add_argument("--json", action="store_true", help="print the whole report as JSON instead of tables")


def _verify(arguments: argparse.Namespace) -> None:
    from rich.console import Console

    from atlas.base.inspection import inspect  # takes torch, which is slow to import
    from atlas.guard import report

    found = inspect(arguments.checkpoint, arguments.manifest, arguments.corpus)
    if arguments.json:
        print(json.dumps(asdict(found), indent=2))
    else:
        report.show(found, Console(width=None if sys.stdout.isatty() else WIDE), arguments.all)
    if not found.passed:
        failed = ", ".join(check.name for check in found.failed)
        raise AtlasError(f"{arguments.checkpoint}: failed {failed}, by the modules named above; do not use it")


def _add_spec(commands: Subparsers) -> None:
    text = "Print the part of the study that one step depends on, as JSON for its --spec."
    parser = _add(commands, "spec", _spec, text)
    kinds = parser.add_subparsers(title="steps", required=True, metavar="STEP", dest="kind")
    for name, help_text in (("pool", "atlas.pool.build"), ("base", "the steps of atlas.base")):
        _add_study(kinds.add_parser(name, help=help_text))
    stream = kinds.add_parser("stream", help="atlas.pool.streams, for one seed")
    stream.add_argument("seed", type=int)
    _add_study(stream)
    run = kinds.add_parser("run", help="atlas.ttt.run, for one arm and one block of seeds")
    run.add_argument("arm")
    run.add_argument("block", nargs="?", help="such as 1-4 (default: the first block)")
    _add_study(run)


def _spec(arguments: argparse.Namespace) -> None:
    print(_spec_of(config.load(*arguments.study), arguments).model_dump_json(indent=2))


def _spec_of(study: config.Study, arguments: argparse.Namespace) -> BaseModel:
    if arguments.kind == "pool":
        return study.pool
    if arguments.kind == "base":
        return study.base
    if arguments.kind == "stream":
        return study.stream_spec(arguments.seed)
    arm = _one_of("arm", arguments.arm, [*study.arms, *study.ablations])
    block = _one_of("block", arguments.block or next(iter(study.blocks)), list(study.blocks))
    return study.run_spec(arm, block)


def _one_of(kind: str, name: str, known: list[str]) -> str:
    if name not in known:
        raise AtlasError(f"{kind} {name!r} is not in the study; it has {', '.join(known)}")
    return name


def _add_schema(commands: Subparsers) -> None:
    parser = _add(commands, "schema", _schema, "Print the JSON schema of config.yaml, for editors.")
    parser.add_argument("--out", type=Path, help="file to write instead (the repository keeps docs/study.schema.json)")


def schema_text() -> str:
    """The JSON schema of the study, as docs/study.schema.json holds it."""
    return json.dumps(config.Study.model_json_schema(), indent=2) + "\n"


def _schema(arguments: argparse.Namespace) -> None:
    if arguments.out:
        files.write_text(arguments.out, schema_text())
    else:
        sys.stdout.write(schema_text())


def _add_readme(commands: Subparsers) -> None:
    parser = _add(
        commands, "readme", _readme, "Fill the headline, tables and chart of the README from a study's results."
    )
    parser.add_argument("--readme", type=Path, default=Path("README.md"), help="file to fill (default: README.md)")
    parser.add_argument(
        "--real", type=Path, metavar="FOLDER", help="results of a study on a real model: fill its block instead"
    )
    _add_study(parser)


def _readme(arguments: argparse.Namespace) -> None:
    from atlas.page import readme  # reads tables, which takes a second of imports

    text = files.read_text(arguments.readme)
    results = arguments.real or Path(config.load(*arguments.study).results)
    blocks = {readme.REAL: readme.real_model(results)} if arguments.real else readme.render(results)
    files.write_text(arguments.readme, readme.filled(text, blocks, str(arguments.readme)))
    if not arguments.real:
        readme.publish_picture(results, arguments.readme.parent / "docs" / "img" / "retention.png")


def _add_plan(commands: Subparsers) -> None:
    text = "Say how many seeds the study's precision needs, what they would cost, and what to write in the study."
    parser = _add(commands, "plan", _plan, text)
    parser.add_argument("--cores", type=int, default=os.cpu_count(), help="cores that would run it (default: all here)")
    _add_study(parser)


def _plan(arguments: argparse.Namespace) -> None:
    from atlas.tables import plan  # reads runs, which takes a second of imports

    print(plan.advice(config.load(*arguments.study), arguments.cores))


def _add_metrics(commands: Subparsers) -> None:
    parser = _add(commands, "metrics", _metrics, "Print what every metric is, and what it may be compared with.")
    parser.add_argument("--out", type=Path, help="file to write instead (the repository keeps docs/metrics.md)")


def _metrics(arguments: argparse.Namespace) -> None:
    from atlas import metrics

    if arguments.out:
        files.write_text(arguments.out, metrics.document())
    else:
        sys.stdout.write(metrics.document())


def _add_check(commands: Subparsers) -> None:
    text = "Find damaged, cut off and lost files of a study's results; exit 0 where all are sound, else 1."
    parser = _add(commands, "check", _check, text)
    parser.add_argument("results", type=Path, nargs="?", help="folder to check (default: that of the study)")
    parser.add_argument("--remake", action="store_true", help="delete what is damaged: snakemake then makes it again")
    parser.epilog = "docs/robust.md says what is covered."
    _add_study(parser)


def _check(arguments: argparse.Namespace) -> None:
    from atlas.check import scan  # takes torch, which is slow to import

    results = arguments.results or Path(config.load(*arguments.study).results)
    found = scan.scan(results)
    for finding in found.findings:
        print(f"{finding.path}: {finding.problem}")
    print(scan.summary(results, found))
    if found.findings and not arguments.remake:
        raise AtlasError(
            f"{results}: {len(found.findings)} files are damaged or lost, see above; `atlas check {results} --remake` "
            "deletes what is damaged, then your snakemake command makes all of them again"
        )
    for path in scan.remove(found.findings) if found.findings else ():
        print(f"{path}: deleted")
    if found.findings:
        print(f"atlas: now {scan.remedy(results, found.findings)}")


def _add_why(commands: Subparsers) -> None:
    text = "Say in words which jobs Snakemake would run for a target, and why: files, settings, code."
    parser = _add(commands, "why", _why, text)
    parser.usage = "atlas why TARGET [SNAKEMAKE OPTION ...]"
    parser.epilog = (
        "Runs nothing. Examples: `atlas why all`; `atlas why results/tables/retention.parquet`; "
        "`atlas why all --configfile studies/quick.yaml`."
    )
    parser.add_argument("target", metavar="TARGET", help="a file below results/, or a rule such as all, ttt, tables")
    parser.add_argument("options", nargs=argparse.REMAINDER, help="passed on to `snakemake --dry-run`")


def _why(arguments: argparse.Namespace) -> None:
    from atlas.workflow import why

    print(why.explain(arguments.target, arguments.options))


def _add_results(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--results", type=Path, help="folder of the results (default: that of the study)")
    _add_study(parser)


def _results(arguments: argparse.Namespace) -> Path:
    return arguments.results or Path(config.load(*arguments.study).results)


def _add_show(commands: Subparsers) -> None:
    parser = _add(commands, "show", _show, "Print a table of the results: retention, claims, contrasts, any other.")
    parser.add_argument("table", nargs="?", default="retention", help="name of the table (default: retention)")
    parser.add_argument("--arm", nargs="+", default=[], help="rows about these arms only")
    parser.add_argument("--metric", nargs="+", default=[], help=", ".join(CHOICES))
    parser.add_argument("--domain", nargs="+", default=[], help="domains (default: all of them together)")
    parser.add_argument("--sessions", nargs="+", type=int, default=[], help="checkpoints")
    parser.add_argument("--csv", action="store_true", help="print all columns as CSV, for another program")
    _add_results(parser)


def _show(arguments: argparse.Namespace) -> None:
    from rich.console import Console

    from atlas.page import terminal  # reads tables, which takes a second of imports

    choice = terminal.Choice(arguments.arm, arguments.metric, arguments.domain, arguments.sessions)
    rows = terminal.rows(_results(arguments) / "tables", arguments.table, choice)
    if arguments.csv:
        print(rows.to_csv(index=False, lineterminator="\n"), end="")
    else:
        terminal.show(rows, arguments.table, Console(width=None if sys.stdout.isatty() else WIDE))


def _add_compare(commands: Subparsers) -> None:
    parser = _add(commands, "compare", _compare, "Compare two arms in words: the paired difference and its verdict.")
    parser.add_argument("first", metavar="A")
    parser.add_argument("second", metavar="B")
    parser.add_argument("--metric", default="recall", choices=CHOICES)
    parser.add_argument("--probe", default="taught", choices=["taught", "rephrase", "placebo"])
    parser.add_argument("--domain", default="all")
    parser.add_argument("--sessions", type=int, help="checkpoint (default: the last one that both arms have)")
    _add_results(parser)


def _compare(arguments: argparse.Namespace) -> None:
    from atlas.page import terminal  # reads tables, which takes a second of imports

    wanted = terminal.Aspect(arguments.metric, arguments.probe, arguments.domain, arguments.sessions)
    print(terminal.compare(_results(arguments), arguments.first, arguments.second, wanted))


def _add_export(commands: Subparsers) -> None:
    text = "Write the base, or a run's base and adapters, as transformers and PEFT load them."
    parser = _add(commands, "export", _export, text)
    parser.add_argument("source", type=Path, help="results/base, or the folder of a run, such as results/ttt/qv/1-8")
    parser.add_argument("out", type=Path, help="folder to write, new or empty: base/ and seed-N/ for a run")
    parser.add_argument("--base", type=Path, help="folder of the base that the run taught (default: that of its study)")


def _export(arguments: argparse.Namespace) -> None:
    from atlas.ttt import export  # takes torch, which is slow to import

    for folder in export.export(arguments.source, arguments.out, arguments.base):
        print(f"{folder}: {export.how_to_load(folder)}")


if __name__ == "__main__":
    main()
