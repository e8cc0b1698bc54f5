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

# Charts that one process draws: those of tables that one process makes; all others by themselves.
DRAWN = {
    batch: [
        chart
        for chart in GALLERY
        if chart.name in SHOWN and set(chart.shows) & set(members)
    ]
    for batch, members in BATCHES.items()
}
DRAWN |= {
    chart.name: [chart]
    for chart in GALLERY
    if all(chart not in charts for charts in DRAWN.values())
}


rule library:
    output:
        charts=f"{RESULTS}/charts/vega.js",
        page=f"{RESULTS}/charts/vega_page.js",
    log:
        f"{RESULTS}/logs/charts/library.log",
    group:
        "figures"
    conda:
        "../envs/atlas.yaml"
    resources:
        **SMALL,
    params:
        code=code_of("atlas.charts.library"),
    shell:
        step(
            "atlas.charts.library --charts {output.charts:q} --page {output.page:q} --log {log:q}"
        )


for batch, members in DRAWN.items():

    rule:
        name:
            f"charts_{batch}"
        input:
            sorted({table for chart in members for table in tables_of(chart)}),
            library=f"{RESULTS}/charts/vega.js",
            fonts=FONTS,
            essay=[LEDGER] if any(chart.ledger for chart in members) else [],
        output:
            **{
                name: file
                for chart in members
                for name, file in files_of(chart).items()
            },
        log:
            [f"{RESULTS}/logs/charts/{chart.name}.log" for chart in members],
        group:
            "figures"
        conda:
            "../envs/atlas.yaml"
        resources:
            **SMALL,
        params:
            steps=[chart_command(chart) for chart in members],
            code=code_of_all(f"atlas.charts.{chart.name}" for chart in members),
        shell:
            step("atlas.workflow.together {params.steps:q}")
