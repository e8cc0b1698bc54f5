"""Recall by the size of a domain, one line an arm.

``python examples/domains.py results out.svg``
"""

import sys

import altair as alt
import pandas as pd

results, out = sys.argv[1:]
rows = pd.read_parquet(f"{results}/tables/retention.parquet")
taught = rows.query("metric == 'recall' and probe == 'taught' and domain != 'all'")
taught = taught[taught["sessions"] == taught["sessions"].max()]

base = alt.Chart(taught).encode(
    x=alt.X("n_facts:Q", scale=alt.Scale(type="log"), title="facts of the domain a seed"),
    color=alt.Color("arm:N", sort=None),
)
bars = base.mark_rule().encode(y=alt.Y("ci_low:Q", axis=alt.Axis(format="%"), title=None), y2="ci_high:Q")
lines = base.mark_line(point=True).encode(y="value:Q")
(bars + lines).properties(title="recall by the size of a domain, 95% intervals").save(out)
