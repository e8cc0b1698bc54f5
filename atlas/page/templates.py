"""The templates of this room and how they are filled in: what goes into HTML is escaped, Markdown is left as it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jinja2
from markdown_it import MarkdownIt
from markupsafe import Markup

from atlas.phrases import plural

ENVIRONMENT = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).with_name("templates")),
    autoescape=jinja2.select_autoescape(["html"], default=False),
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
ENVIRONMENT.filters["plural"] = plural  # {{ sessions | plural("session") }}
SENTENCE = MarkdownIt("zero", {"html": False}).enable(["emphasis", "backticks"])


def html(template: str, **values: Any) -> Markup:
    """``TEMPLATE.html`` filled in: safe HTML, in which only values that are Markup already stand as they are."""
    return Markup(ENVIRONMENT.get_template(f"{template}.html").render(values))


def rendered(sentence: str) -> Markup:
    """A sentence of Markdown, with its emphasis and code, as safe HTML."""
    return Markup(SENTENCE.renderInline(sentence))


def markdown(template: str, **values: Any) -> str:
    """``TEMPLATE.md.jinja`` filled in, without empty lines at its ends."""
    return ENVIRONMENT.get_template(f"{template}.md.jinja").render(values).strip()
