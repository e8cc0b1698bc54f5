from atlas.charts.gallery import GALLERY

# What the study has to show: its tables, but for those that hold no rows, and what is made beside them.
TRAINED = any(
    not arm.edits and STUDY.recipe_of(name).active for name, arm in STUDY.arms.items()
)
TO_SHOW = {
    *TABLES,
    *(["recipes"] if SEARCHED else []),
    *(["trace"] if EDITORS else []),
}
TO_SHOW -= {
    *([] if TRAINED else ["capacity"]),
    *([] if any(STUDY.contrasts.values()) else ["contrasts"]),
}
SHOWN = [chart.name for chart in GALLERY if TO_SHOW.issuperset(chart.shows)]
FORMATS = ("json", "html", "svg", "png")
DATA = beside("atlas/charts/data")  # no code, so not in the code digest: files to watch
FONTS = expand(f"{DATA}/fonts/atlas-sans-{{weight}}.woff2", weight=("regular", "bold"))


for chart in GALLERY:

    rule:
        name:
            f"chart_{chart.name}"
        input:
            expand(
                f"{RESULTS}/{chart.folder}/{{table}}.parquet",
                table=chart.shows + chart.reads,
            ),
            fonts=FONTS,
            essay=[LEDGER] if chart.ledger else [],
        output:
            json=f"{RESULTS}/charts/{chart.name}.json",
            html=f"{RESULTS}/charts/{chart.name}.html",
            svg=report(
                f"{RESULTS}/charts/{chart.name}.svg",
                caption=f"../report/{chart.name}.rst",
                category=chart.category,
                labels={"chart": chart.label},
            ),
            png=f"{RESULTS}/charts/{chart.name}.png",
        log:
            f"{RESULTS}/logs/charts/{chart.name}.log",
        group:
            "figures"
        conda:
            "../envs/atlas.yaml"
        resources:
            **SMALL,
        params:
            name=chart.name,
            # the ablations need the colours of the arms, not their runs
            arms=f"--arms {' '.join(STUDY.arms)}" if chart.name == "ablations" else "",
            tables=lambda wildcards, input: str(Path(input[0]).parent),
            out=lambda wildcards, output: output.json.removesuffix(".json"),
            code=code_of(f"atlas.charts.{chart.name}"),
        shell:
            step(
                "atlas.charts.{params.name} --tables {params.tables:q} {params.arms}"
                " --out {params.out:q} --log {log:q}"
            )
