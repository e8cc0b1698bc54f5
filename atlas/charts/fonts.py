"""The font of the charts, carried along: text looks and measures the same wherever a chart or the page is opened."""

from __future__ import annotations

import base64
from pathlib import Path

FOLDER = Path(__file__).with_name("data") / "fonts"
FAMILY = "Atlas Sans"
FACES = {"regular": 400, "bold": 700}
"""Ending of a font file to its weight."""


def faces() -> str:
    """CSS that holds the font itself."""
    rules = []
    for name, weight in FACES.items():
        data = base64.b64encode((FOLDER / f"atlas-sans-{name}.woff2").read_bytes()).decode("ascii")
        source = f"url(data:font/woff2;base64,{data}) format('woff2')"
        rules.append(f"@font-face{{font-family:'{FAMILY}';font-weight:{weight};src:{source}}}")
    return "".join(rules)


def embedded(svg: str) -> str:
    """An SVG that carries its font: the same in every browser, and still text that can be searched and edited."""
    head, rest = svg.split(">", 1)
    return f"{head}><style>{faces()}</style>{rest}"


def bare(svg: str) -> str:
    """An SVG without its font, for a page that has it already."""
    return svg.replace(f"<style>{faces()}</style>", "", 1)
