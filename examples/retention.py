"""One metric by arm after the last checkpoint, beside facts never taught.

``python examples/retention.py results out.svg``; a third word names another metric than recall.
"""

import sys

import altair as alt
import pandas as pd

results, out, *metric = sys.argv[1:]
rows = pd.read_parquet(f"{results}/tables/retention.parquet")
last = rows["sessions"].max()
rows = rows[(rows["domain"] == "all") & (rows["sessions"] == last) & (rows["metric"] == (metric or ["recall"])[0])]

base = alt.Chart(rows).encode(y=alt.Y("arm:N", sort=None, title=None), yOffset="probe:N", color="probe:N")
bars = base.mark_rule(strokeWidth=2).encode(x=alt.X("ci_low:Q", axis=alt.Axis(format="%"), title=None), x2="ci_high:Q")
dots = base.mark_point(filled=True, size=50, opacity=1).encode(x="value:Q")
(bars + dots).properties(title=f"{rows['metric'].iloc[0]} after {last} sessions, 95% intervals").save(out)
