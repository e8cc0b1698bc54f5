# no code, so not in the code digest: files to watch
PAGE_DATA = expand(beside("atlas/page/data/page.{kind}"), kind=("css", "js"))
TEMPLATES = Path(HOME, "atlas/page/templates")


rule prose:
    input:
        f"{RESULTS}/tables/claims.parquet",
        template=beside("atlas/page/templates/ledger.md.jinja"),
    output:
        report(
            f"{RESULTS}/charts/claims.md",
            caption="../report/prose.rst",
            category="Claims",
            labels={"chart": "in words"},
        ),
    log:
        f"{RESULTS}/logs/charts/prose.log",
    group:
        "figures"
    conda:
        "../envs/atlas.yaml"
    resources:
        **SMALL,
    params:
        tables=lambda wildcards, input: str(Path(input[0]).parent),
        code=code_of("atlas.page.prose"),
    shell:
        step(
            "atlas.page.prose --tables {params.tables:q} --out {output:q} --log {log:q}"
        )


rule page:
    input:
        tables=expand(f"{RESULTS}/tables/{{table}}.parquet", table=TABLES),
        charts=expand(f"{RESULTS}/charts/{{name}}.svg", name=SHOWN),
        data=PAGE_DATA,
        templates=sorted(map(beside, TEMPLATES.glob("*.html"))),
        fonts=FONTS,
        essay=[LEDGER],  # which arms and sessions a claim is about
        captions=expand(beside("report/{name}.rst"), name=SHOWN),
        library=f"{RESULTS}/charts/vega_page.js",
    output:
        report(
            f"{RESULTS}/index.html",
            caption="../report/page.rst",
            category="Page",
            labels={"chart": "all on one page"},
        ),
    log:
        f"{RESULTS}/logs/charts/page.log",
    group:
        "figures"
    conda:
        "../envs/atlas.yaml"
    resources:
        **SMALL,
    params:
        tables=lambda wildcards, input: str(Path(input.tables[0]).parent),
        code=code_of("atlas.page.page"),
    shell:
        step(
            "atlas.page.page --tables {params.tables:q} --charts {input.charts:q} --captions {input.captions:q}"
            " --library {input.library:q} --out {output:q} --log {log:q}"
        )
