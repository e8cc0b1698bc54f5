# Each chart: the tables it reads, and its place in the report.
CHARTS = {
    "claims": (("claims",), "Claims", "claim by claim"),
    "retention": (("arms", "retention"), "Retention", "by arm and metric"),
    "domains": (("arms", "retention"), "Retention", "by domain"),
    "curve": (("arms", "curve", "retention"), "Forgetting", "over sessions"),
    "matrix": (("arms", "matrix"), "Forgetting", "by session and age"),
    "base_loss": (("arms", "base_loss", "retention"), "Cost", "rise in base loss"),
    "speed": (("arms", "speedrun"), "Cost", "recall against core-seconds"),
}
if any(
    not arm.edits and STUDY.recipe_of(name).active for name, arm in STUDY.arms.items()
):
    CHARTS["capacity"] = (("arms", "capacity"), "Forgetting", "facts per parameter")
if STUDY.ablations:
    CHARTS["ablations"] = (("ablations",), "Recipe", "ablations")
if SEARCHED:
    CHARTS["recipes"] = (("recipes",), "Recipe", "what the search found")
if "paraphrases" in TABLES:
    CHARTS["paraphrases"] = (
        ("arms", "paraphrases"),
        "Recipe",
        "in other words, by paraphrases taught",
    )
if "variance" in TABLES:
    CHARTS["variance"] = (("variance",), "Recipe", "shares of variance")
if any(STUDY.contrasts.values()):
    CHARTS["contrasts"] = (("contrasts",), "Contrasts", "planned comparisons")
if BASELINES:
    CHARTS["baselines"] = (
        ("arms", "baselines", "retention"),
        "Baselines",
        "recall by edits",
    )
if "knowledge" in TABLES:
    CHARTS["knowledge"] = (
        ("arms", "knowledge", "controls"),
        "Knowledge",
        "known and unknown facts",
    )
if REINITS:
    CHARTS["confound"] = (("arms", "confound"), "Guard", "what a mis-loaded base does")
# with what is not made from tables: where facts are, for the editors
SHOWN = [*CHARTS, *(["trace"] if EDITORS else [])]
FORMATS = ("json", "html", "svg", "png")
DATA = beside("atlas/charts/data")  # no code, so not in the code digest: files to watch
FONTS = expand(f"{DATA}/fonts/atlas-sans-{{weight}}.woff2", weight=("regular", "bold"))


for name, (tables, category, label) in CHARTS.items():

    rule:
        name:
            f"chart_{name}"
        input:
            expand(f"{RESULTS}/tables/{{table}}.parquet", table=tables),
            fonts=FONTS,
            essay=[LEDGER] if name == "retention" else [],
        output:
            json=f"{RESULTS}/charts/{name}.json",
            html=f"{RESULTS}/charts/{name}.html",
            svg=report(
                f"{RESULTS}/charts/{name}.svg",
                caption=f"../report/{name}.rst",
                category=category,
                labels={"chart": label},
            ),
            png=f"{RESULTS}/charts/{name}.png",
        log:
            f"{RESULTS}/logs/charts/{name}.log",
        group:
            "figures"
        conda:
            "../envs/atlas.yaml"
        params:
            name=name,
            # the ablations need the colours of the arms, not their runs
            arms=f"--arms {' '.join(STUDY.arms)}" if name == "ablations" else "",
            tables=lambda wildcards, input: str(Path(input[0]).parent),
            out=lambda wildcards, output: output.json.removesuffix(".json"),
            code=code_of(f"atlas.charts.{name}"),
        shell:
            "python -m atlas.charts.{params.name} --tables {params.tables} {params.arms}"
            " --out {params.out} --log {log}"


rule chart_trace:
    input:
        rules.trace.output,
        fonts=FONTS,
    output:
        json=f"{RESULTS}/charts/trace.json",
        html=f"{RESULTS}/charts/trace.html",
        svg=report(
            f"{RESULTS}/charts/trace.svg",
            caption="../report/trace.rst",
            category="Baselines",
            labels={"chart": "causal trace"},
        ),
        png=f"{RESULTS}/charts/trace.png",
    log:
        f"{RESULTS}/logs/charts/trace.log",
    group:
        "figures"
    conda:
        "../envs/atlas.yaml"
    params:
        tables=lambda wildcards, input: str(Path(input[0]).parent),
        out=lambda wildcards, output: output.json.removesuffix(".json"),
        code=code_of("atlas.charts.trace"),
    shell:
        "python -m atlas.charts.trace --tables {params.tables} --out {params.out} --log {log}"


rule chart_detection:
    input:
        expand(
            f"{RESULTS}/audit/{{table}}.parquet", table=("detection", "false_alarms")
        ),
        fonts=FONTS,
    output:
        json=f"{RESULTS}/charts/detection.json",
        html=f"{RESULTS}/charts/detection.html",
        svg=report(
            f"{RESULTS}/charts/detection.svg",
            caption="../report/detection.rst",
            category="Guard",
            labels={"chart": "damage and false alarms"},
        ),
        png=f"{RESULTS}/charts/detection.png",
    log:
        f"{RESULTS}/logs/charts/detection.log",
    group:
        "figures"
    conda:
        "../envs/atlas.yaml"
    params:
        tables=lambda wildcards, input: str(Path(input[0]).parent),
        out=lambda wildcards, output: output.json.removesuffix(".json"),
        code=code_of("atlas.charts.detection"),
    shell:
        "python -m atlas.charts.detection --tables {params.tables} --out {params.out} --log {log}"
