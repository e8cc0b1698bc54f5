"""Vega, which draws charts on pages: bundled once for all of them, since that takes longer than to draw one."""

from __future__ import annotations

import re
from pathlib import Path

import vl_convert

from atlas.workflow import files, progress
from atlas.workflow.steps import parser, run_step

ALL = "window.vegaEmbed=vegaEmbed; window.vega=vega; window.vegaLite=vegaLite;"
ONLY_EMBED = "window.vegaEmbed = vegaEmbed;"
FROM_THE_NETWORK = re.compile(r'(?:<script src="[^"]*"></script>\s*?)+(?=\s*</head>)')


def for_charts() -> str:
    """The library that a chart's HTML carries."""
    code: str = vl_convert.javascript_bundle(ALL)
    return code


def for_page() -> str:
    """The part of it that the page needs."""
    code: str = vl_convert.javascript_bundle(ONLY_EMBED)
    return code


def page_of(spec: str, library: str) -> str:
    """A chart as HTML that opens without a network: what ``vegalite_to_html(spec, bundle=True)`` gives."""
    html = vl_convert.vegalite_to_html(spec, bundle=False)
    return FROM_THE_NETWORK.sub(lambda _: f'<script type="text/javascript">{library}</script>', html, count=1)


def main() -> None:
    """Write both libraries."""
    options = parser(__doc__)
    options.add_argument("--charts", type=Path, required=True, help="vega.js, to be written: for charts")
    options.add_argument("--page", type=Path, required=True, help="vega_page.js, to be written: for the page")
    args = options.parse_args()
    files.publish_text(args.charts, for_charts())
    files.publish_text(args.page, for_page())
    progress.say(f"charts library: see {args.charts} and {args.page}")


if __name__ == "__main__":
    run_step(main)
