"""Verdicts of two studies side by side, such as of one in float32 and one in bfloat16: those that differ, and how many.

``python examples/verdicts.py results other-results``
"""

import sys

import pandas as pd

TABLES = {
    "claims": (["claim_id", "preset", "metric"], "measured"),
    "contrasts": (["family", "arm_a", "arm_b", "sessions", "probe", "domain", "metric"], "p_adjusted"),
}
first, second = sys.argv[1:]
for table, (key, figure) in TABLES.items():
    one, other = (pd.read_parquet(f"{results}/tables/{table}.parquet") for results in (first, second))
    both = one.merge(other, on=key, validate="one_to_one", suffixes=(f" of {first}", f" of {second}"))
    shown = [f"{name} of {results}" for name in ("verdict", figure) for results in (first, second)]
    differ = both[both[shown[0]] != both[shown[1]]]
    print(f"{table}: {len(differ)} of {len(both)} verdicts differ")
    if len(differ):
        print(differ[[*key, *shown]].to_string(index=False))
