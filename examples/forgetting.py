"""Recall of all facts taught so far, session after session.

``python examples/forgetting.py results out.svg``
"""

import sys

import altair as alt
import pandas as pd

results, out = sys.argv[1:]
rows = pd.read_parquet(f"{results}/tables/curve.parquet").query("metric == 'recall'")

base = alt.Chart(rows).encode(x=alt.X("session:Q", title="sessions"), color=alt.Color("arm:N", sort=None))
bands = base.mark_area(opacity=0.15).encode(y=alt.Y("ci_low:Q", axis=alt.Axis(format="%"), title=None), y2="ci_high:Q")
lines = base.mark_line().encode(y="value:Q")
(bands + lines).properties(title="recall of all facts taught so far, 95% bands").save(out)
