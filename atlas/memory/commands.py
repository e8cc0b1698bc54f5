"""The commands ``atlas teach``, ``atlas ask`` and ``atlas memory``; each imports what it takes."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from atlas.errors import AtlasError
from atlas.phrases import plural

if TYPE_CHECKING:
    from atlas.memory.asking import Answer, Near, Tested
    from atlas.memory.store import KeptFact, MemoryRecord, State
    from atlas.memory.teaching import Workshop

    Parsers = argparse._SubParsersAction[argparse.ArgumentParser]


def register(commands: Parsers) -> None:
    """Add the commands to those of ``atlas``."""
    teach = _command(commands, "teach", _teach, "Teach facts of your own to a memory, which is begun if there is none.")
    teach.add_argument("facts", type=Path, nargs="*", metavar="FACTS", help="files, of any kind that a pool may be")
    teach.add_argument(
        "--fact",
        nargs=2,
        action="append",
        default=[],
        metavar=("PROMPT", "ANSWER"),
        help='one fact, such as "The capital of Peru is" "Lima"; may be given again and again',
    )
    teach.add_argument(
        "--per-session", type=_positive, default=3, metavar="N", help="facts that are taught together (default: 3)"
    )
    teach.add_argument("--again", action="store_true", help="teach those anew, too, that are known as they are")
    teach.add_argument("--corpus", type=Path, help="text that the base was trained on (default: Shakespeare)")
    new = teach.add_argument_group("of a new memory")
    new.add_argument("--preset", help="recipe: recall (default) or essay")
    new.add_argument("--targets", nargs="+", metavar="ROLE", help="layers that adapt (default: q k v o up down)")
    new.add_argument("--ranks", nargs="+", type=int, metavar="RANK", help="one, or one a layer (default: 7)")
    new.add_argument("--lr", type=float, help="learning rate (default: the recipe's)")
    new.add_argument("--seed", type=int, help="of the adapters' start and of all draws (default: 1)")
    ask = _command(commands, "ask", _ask, "Ask a memory: one prompt, or with --all everything that it was taught.")
    ask.add_argument("prompt", nargs="?", metavar="PROMPT", help='such as "The capital of Peru is"')
    ask.add_argument("--all", action="store_true", help="test all facts, by the session that taught them")
    memory = commands.add_parser("memory", help="List, show, forget or export what a memory was taught.")
    parts = memory.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _command(parts, "list", _list, "List the facts of a memory, by the session that taught them.", computes=False)
    show = _command(parts, "show", _show, "Show what a memory is and its sessions, or one fact.", computes=False)
    show.add_argument("fact", nargs="?", metavar="FACT", help="a fact_id, or a prompt as it was taught")
    forget = _command(parts, "forget", _forget, "Stop rehearsing, testing and counting facts.")
    forget.add_argument("facts", nargs="+", metavar="FACT", help="a fact_id, or a prompt as it was taught")
    export = _command(parts, "export", _export, "Write a memory as PEFT loads it, with its base where that is our own.")
    export.add_argument("out", type=Path, metavar="OUT", help="folder to write, new or empty")
    for each in (ask, *(parts.choices[name] for name in ("list", "show"))):
        each.add_argument("--json", action="store_true", help="print JSON, for another program")


def _command(
    commands: Parsers, name: str, run: Callable[[argparse.Namespace], None], text: str, computes: bool = True
) -> argparse.ArgumentParser:
    command = commands.add_parser(name, help=text, description=text, epilog="docs/memory.md tells more.")
    command.set_defaults(run=run)
    command.add_argument("--memory", type=Path, required=True, metavar="FOLDER", help="folder of the memory")
    if computes:
        command.add_argument(
            "--model",
            type=Path,
            help="the base: a study's, such as results/base/2, a folder of transformers, or a GGUF file (default: "
            "where it was; of a new memory results/base/1, or one that is made once)",
        )
        command.add_argument("--device", choices=("cpu", "cuda", "auto"), default="cpu", help="(default: cpu)")
        command.add_argument("--threads", type=_positive, default=1, help="processor threads (default: 1)")
    return command


def _positive(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r}, expected a whole number from 1 on")
    return int(text)


def _teach(options: argparse.Namespace) -> None:
    from atlas.memory import intake, teaching

    wishes = teaching.Wishes(
        facts_per_session=options.per_session,
        **{
            name: getattr(options, name)
            for name in ("model", "corpus", "preset", "targets", "ranks", "lr", "seed", "again", "device", "threads")
        },
    )
    teaching.teach(options.memory, intake.read(options.facts, options.fact), wishes)


def _opened(options: argparse.Namespace) -> tuple[Workshop, MemoryRecord, State]:
    import torch

    from atlas.memory import store, teaching

    record = store.read(options.memory)
    workshop = teaching.opened(options.memory, record, options.model, options.device, options.threads)
    record, state = store.read_state(options.memory, torch.device(workshop.device))
    return workshop, record, state


def _ask(options: argparse.Namespace) -> None:
    if options.all == (options.prompt is not None):
        raise AtlasError("atlas ask: give one prompt, or --all for everything that the memory was taught")
    from atlas.memory import asking

    workshop, record, state = _opened(options)
    if options.all:
        tested = asking.test_all(workshop, record, state)
        print(
            json.dumps(_tested_as_json(tested, record), indent=2) if options.json else _tested_in_words(tested, record)
        )
        return
    answer, near = asking.ask(workshop, state, options.prompt), asking.nearest(options.prompt, record)
    if options.json:
        print(json.dumps(_answer_as_json(options.prompt, answer, near), indent=2))
    else:
        print(_answer_in_words(options.prompt, answer, near))


def _answer_in_words(prompt: str, answer: Answer, near: Near | None) -> str:
    from atlas.guard.report import printable

    text = printable(answer.text) or "(an empty line)"
    lines = [text if answer.ended else f"{text}... (no line end, so no answer)"]
    beside = "no other answer was found"
    if answer.next_text is not None:
        beside = f"margin {answer.margin:.1%}: the next answer, {answer.next_text!r}, has {answer.next_probability:.1%}"
    lines.append(f"probability {answer.probability:.1%}, {beside}")
    if near is None:
        return "\n".join([*lines, "nothing is taught"])
    fact = near.fact
    if near.exact(prompt):
        taught = f"taught by session {fact.session}"
        lines.append(taught if answer.text in fact.fact.answers else f"{taught}, but as {fact.fact.answer!r}")
    elif near.resembles:
        here, there = near.differs(prompt)
        words = f": {', '.join(here) or 'nothing'} for {', '.join(there) or 'nothing'}"
        lines.append(f"this prompt was not taught; it resembles {near.prompt!r} of session {fact.session}{words}")
    else:
        lines.append(f"nothing that was taught resembles this; nearest is {near.prompt!r} of session {fact.session}")
    return "\n".join(lines)


def _answer_as_json(prompt: str, answer: Answer, near: Near | None) -> dict[str, Any]:
    found: dict[str, Any] = {
        "prompt": prompt,
        "answer": answer.text,
        "ended": answer.ended,
        "probability": answer.probability,
        "next": None
        if answer.next_text is None
        else {"answer": answer.next_text, "probability": answer.next_probability},
        "margin": answer.margin,
        "taught": bool(near and near.exact(prompt)),
        "resembles": bool(near and near.resembles),
        "nearest": None,
    }
    if near:
        found["nearest"] = {
            "fact_id": near.fact.fact.fact_id,
            "session": near.fact.session,
            "prompt": near.prompt,
            "answer": near.fact.fact.answer,
            "likeness": near.degree,
        }
    return found


def _tested_in_words(tested: list[Tested], record: MemoryRecord) -> str:
    lines, sessions = [], sorted({one.fact.session for one in tested})
    for session in sessions:
        some = [one for one in tested if one.fact.session == session]
        asked = sum(one.rephrased[1] for one in some)
        rephrased = f", {sum(one.rephrased[0] for one in some)} of {asked} in other words" if asked else ""
        when = record.sessions[session - 1].finished
        lines.append(
            f"session {session} ({when}): {sum(one.recalled for one in some)} of {len(some)} recalled{rephrased}"
        )
        lines += [
            f"  {one.fact.fact.prompt!r}: says {one.decoded!r}, taught {one.fact.fact.answer!r}; {_history(one.fact)}"
            for one in some
            if not one.recalled
        ]
    total = f"{sum(one.recalled for one in tested)} of {plural(len(tested), 'fact')} recalled"
    return "\n".join([*lines, f"{total} after {plural(len(record.sessions), 'session')}"])


def _history(fact: KeptFact) -> str:
    if fact.recalled:  # by another machine, say, which rounds otherwise
        return f"recalled since session {fact.turns[-1]}, and no longer"
    return f"lost since session {fact.lost_since}" if fact.lost_since else "never recalled"


def _tested_as_json(tested: list[Tested], record: MemoryRecord) -> dict[str, Any]:
    facts = [
        {
            "fact_id": one.fact.fact.fact_id,
            "session": one.fact.session,
            "prompt": one.fact.fact.prompt,
            "answer": one.fact.fact.answer,
            "recalled": one.recalled,
            "decoded": one.decoded,
            "lost_since": one.fact.lost_since,
            "rephrases_recalled": one.rephrased[0],
            "rephrases": one.rephrased[1],
        }
        for one in tested
    ]
    return {"sessions": len(record.sessions), "recalled": sum(one.recalled for one in tested), "facts": facts}


def _list(options: argparse.Namespace) -> None:
    from atlas.memory import store

    record = store.read(options.memory)
    if options.json:
        print(json.dumps([one.model_dump(mode="json") for one in record.facts], indent=2))
        return
    for one in record.facts:
        state = f"{one.gone.why} {one.gone.when}" if one.gone else "recalled" if one.recalled else _history(one)
        print(f"{one.fact.fact_id}  session {one.session}  {one.fact.prompt!r} {one.fact.answer!r}  {state}")
    kept = plural(len(record.kept), "fact is", "facts are")
    print(f"{kept} kept, after {plural(len(record.sessions), 'session')}; `atlas ask --all` tests them now")


def _show(options: argparse.Namespace) -> None:
    from atlas.memory import keeping, store

    record = store.read(options.memory)
    shown: Any = keeping.found(record, options.memory, [options.fact])[0] if options.fact else record
    if options.json:
        print(json.dumps(shown.model_dump(mode="json", exclude={"facts"}), indent=2))
    else:
        print("\n".join(keeping.fact_in_words(shown) if options.fact else keeping.in_words(record, options.memory)))


def _forget(options: argparse.Namespace) -> None:
    from atlas.memory import keeping, store
    from atlas.workflow import locks

    store.read(options.memory)  # or a folder of that name would be made
    with locks.alone(options.memory, "teaching this memory"):
        for line in keeping.forget(options.memory, options.facts, *_opened(options)):
            print(line)


def _export(options: argparse.Namespace) -> None:
    from atlas.memory import keeping
    from atlas.ttt.export import how_to_load

    workshop, _, state = _opened(options)
    for folder in keeping.export(workshop, state, options.out):
        print(f"{folder}: {how_to_load(folder)}")
