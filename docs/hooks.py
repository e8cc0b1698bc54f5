"""What mkdocs does to a page: figures come from the study and the code, formulas become MathML."""

from __future__ import annotations

import ast
import html
import importlib
import itertools
import re
from collections import Counter
from pathlib import Path
from typing import Any

import jinja2
import yaml
from latex2mathml.converter import convert

from atlas import __version__
from atlas.pool import builtin, rules
from atlas.pool.facts import HELD_OUT
from atlas.study import config
from atlas.study.arm import Locating
from atlas.study.editor_settings import BY_METHOD
from atlas.study.jobs import Keys
from atlas.study.recipes import PRESETS, preset
from atlas.tables import decidable, inference, intervals, ledger, level, unlike, verdicts
from atlas.tables.claims import rule
from atlas.ttt.editors.covariance import LARGEST_CONDITION

ROOT = Path(__file__).parents[1]
REPOSITORY_FILES = re.compile(r"\]\(\.\./([\w./-]+)\)")  # files that GitHub shows and the site does not have


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Fill in what stands in double braces; name files outside docs/ instead of linking to them."""
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True)
    return REPOSITORY_FILES.sub(r"] (`\1`)", environment.from_string(markdown).render(values()))


def on_page_content(content: str, **_: Any) -> str:
    """Formulas as MathML, which browsers draw by themselves."""
    for tag, display in (("span", "inline"), ("div", "block")):
        content = re.sub(
            rf'<{tag} class="arithmatex">\\[(\[](.*?)\\[)\]]</{tag}>',
            lambda found, display=display: convert(html.unescape(found[1]).strip(), display=display),
            content,
            flags=re.DOTALL,
        )
    return content


def values() -> dict[str, Any]:
    """All that a page may name."""
    study = config.load(ROOT / "config.yaml")
    outside = yaml.safe_load((ROOT / "studies/smollm2.yaml").read_text(encoding="utf-8"))
    return {
        "version": __version__,
        "study": study,
        "locate": Locating(),
        "domains": list(study.pool.shares),
        "most_answer": rules.MAX_ANSWER,
        "most_sentence": rules.MAX_SENTENCE,
        "most_answer_tokens": rules.MAX_ANSWER_TOKENS,
        "paraphrases": builtin.REPHRASES,
        "held_out": HELD_OUT,
        "templates_table": table(["Template", "Facts", "Prompt", "Source"], templates(study)),
        "recipe_table": table(["Key", "Value"], flat(study.recipe.model_dump())),
        "presets_table": table(["Preset", "Key", "Value"], presets()),
        "arms_table": table(["Arm", "Targets", "Ranks"], arms(study)),
        "editing_tables": "\n\n".join(editing_table(method) for method in BY_METHOD),
        "here": {method: kind.model_validate({"method": method}) for method, kind in BY_METHOD.items()},
        "smollm2": {
            name: BY_METHOD[arm["method"]].model_validate({"method": arm["method"], **arm["editing"]})
            for name, arm in outside["arms"].items()
            if arm.get("method") in BY_METHOD
        },
        "smollm2_keys": Keys.model_validate(outside["keys"]),
        "largest_condition": LARGEST_CONDITION,
        "sites": literal("atlas/study/editor_settings.py", "EditSite"),
        "ledger_table": table(["Claim", "Topic", "Rule", "Reproduced if"], claims(ledger.read())),
        "baseline_ledger_table": table(["Claim", "Who claims it", "Reproduced if"], baseline_claims()),
        "claims": len(ledger.read().all_claims),
        "figures": len(ledger.read().figures),
        "vague": vague_figures(),
        "confidence": f"{intervals.CONFIDENCE:.0%}",
        "level": level.LEVEL,
        "seeds_to_decide": decidable.SEEDS_TO_DECIDE,
        "same_size": f"{unlike.SAME_SIZE:.0%}",
        "power": f"{inference.POWER:.0%}",
        "citation": yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8")),
        "digest": (ROOT / "atlas/workflow/digest/README.md").read_text(encoding="utf-8"),
        "doc": doc,
    }


def templates(study: config.Study) -> list[list[str]]:
    """The templates of the facts of Atlas: how many facts, what is asked, and where it comes from."""
    facts = Counter(fact.template for fact in builtin.read_facts(study.pool.shares))
    return [
        [
            f"`{domain}/{name}`",
            str(facts[f"{domain}/{name}"]),
            relation.prompt.replace("{subject}", "..."),
            relation.source,
        ]
        for domain in study.pool.shares
        for name, relation in builtin.read_relations(builtin.DATA / f"{domain}.yaml").items()
    ]


def editing_table(method: str) -> str:
    """The settings of an editor as they are by default, below its name."""
    settings = BY_METHOD[method].model_validate({"method": method}).model_dump(exclude={"method"})
    return f"**`{method}`**\n\n{table(['Key', 'Value'], flat(settings))}"


def literal(path: str, name: str) -> str:
    """The text below an assignment in a module, which says what its values mean. StopIteration where there is none."""
    body = ast.parse((ROOT / path).read_text(encoding="utf-8")).body
    below = (after for node, after in itertools.pairwise(body) if ast.unparse(node).startswith(f"{name} = "))
    text: str = ast.literal_eval(ast.unparse(next(below)))
    return text.strip()


def doc(module: str, name: str = "") -> str:
    """The docstring of a module, or of something in it, as it stands in the code; of a text, the text itself."""
    found = importlib.import_module(module)
    found = getattr(found, name) if name else found
    text = found if isinstance(found, str) else found.__doc__ or ""
    return re.sub(r"``([^`]*)``", r"`\1`", "\n".join(line.strip() for line in text.strip().splitlines()))


def table(heading: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    lines = [heading, ["---"] * len(heading), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def flat(values: dict[str, Any], above: str = "") -> list[list[str]]:
    """Keys with their values, nested ones as ``outer.inner``."""
    rows = []
    for key, value in values.items():
        nested = isinstance(value, dict)
        rows += flat(value, f"{above}{key}.") if nested else [[f"`{above}{key}`", f"`{value}`".replace("|", r"\|")]]
    return rows


def presets() -> list[list[str]]:
    """What the file of every preset says, a key in a row."""
    return [[f"`{name}`", *row] for name in PRESETS for row in flat(preset(name))]


def arms(study: config.Study) -> list[list[str]]:
    """Every arm of the study in a row."""
    return [[f"`{name}`", ", ".join(arm.targets), str(arm.ranks)] for name, arm in study.arms.items()]


def vague_figures() -> int:
    """How many of the essay's figures are too vague for their margin."""
    book = ledger.read()
    claims = [claim for claim in book.all_claims if isinstance(claim, ledger.PrintedValue)]
    return sum(
        verdicts.vague(ledger.share(book.figure_of[claim.plus[0].place]), book.margin(claim)) for claim in claims
    )


def claims(book: ledger.Ledger) -> list[list[str]]:
    """Every claim of a ledger in a row."""
    return [[claim.statement, claim.topic, claim.rule, rule(claim, book)] for claim in book.all_claims]


def baseline_claims() -> list[list[str]]:
    """Every claim on editors and fine-tuning in a row."""
    book = ledger.read(ledger.BASELINES)
    return [[claim.statement, claim.remark or "", rule(claim, book)] for claim in book.all_claims]
