"""The model card of what `atlas export` writes: README.md with the header of Hugging Face, and what was measured."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from atlas.base.checkpoint import Manifest, read_manifest
from atlas.page import templates
from atlas.phrases import listed, plural
from atlas.tables import retention, runs
from atlas.tables.intervals import CONFIDENCE
from atlas.tables.scores import ALL, fact_scores
from atlas.ttt import hub
from atlas.ttt.export import RECORD
from atlas.ttt.run_files import RunRecord
from atlas.workflow import files

ASKED = {
    "taught": "as taught",
    "rephrase": "in other words, never taught",
    "placebo": "facts never taught",
}


def measured(source: Path) -> runs.Runs | None:
    """What was measured of a run that is to be exported; None of a base. AtlasError where it cannot be read."""
    if not (source / RECORD).is_file():
        return None
    study = runs.read([source])
    _ = study.facts  # read now, before anything is written
    return study


def write(study: runs.Runs | None, folders: Sequence[Path], base: Path) -> None:
    """Write README.md into each folder that ``atlas.ttt.export.export`` made.

    Args:
        study: of the run that it made them of, as ``measured`` gives it.
        folders: as ``export`` returns them.
        base: folder of the base that was taught, or exported.
    """
    manifest = read_manifest(base / "base.json")
    if study is None:
        for folder in folders:
            files.write_text(folder / "README.md", _of_base(manifest, folder))
        return
    (record,), recall = study.records, _recall(study)
    for folder in folders:
        seed = folder.name.removeprefix("seed-")
        card = _of_seed(study, record, manifest, recall, folder, int(seed)) if seed.isdecimal() else None
        files.write_text(folder / "README.md", card or _of_base(manifest, folder))


def _recall(study: runs.Runs) -> list[dict[str, Any]]:
    """Recall after the last session, by what was asked: of all seeds with its interval, and ``own``, seed by seed."""
    table, scores = retention.frame(study), fact_scores(study.facts, ["recall"])
    last = table["sessions"].max()
    whole = table[(table["sessions"] == last) & (table["metric"] == "recall") & (table["domain"] == ALL)]
    own = scores[scores["sessions"] == last].groupby(["probe", "seed"], observed=True)["recall"]
    return [
        {
            "asked": ASKED.get(row["probe"], row["probe"]),
            "probe": row["probe"],
            "sessions": int(last),
            "value": float(row["value"]),
            "low": float(row["ci_low"]),
            "high": float(row["ci_high"]),
            "own": {int(seed): float(share) for seed, share in own.mean()[row["probe"]].items()},
            "facts": {int(seed): int(count) for seed, count in own.size()[row["probe"]].items()},
        }
        for row in whole.to_dict("records")
    ]


def _of_seed(
    study: runs.Runs, record: RunRecord, manifest: Manifest, recall: list[dict[str, Any]], folder: Path, seed: int
) -> str:
    sessions = recall[0]["sessions"]
    rows = [row | {"own": row["own"][seed], "facts": row["facts"][seed]} for row in recall if seed in row["own"]]
    adapter = folder / hub.ADAPTER["config"]
    base = files.read_json(adapter)["base_model_name_or_path"] if adapter.is_file() else None
    title = f"{record.arm}, seed {seed}"
    facts = study.facts[(study.facts["seed"] == seed) & (study.facts["probe"] == "taught")]
    taught = facts[facts["sessions"] == sessions].drop_duplicates("fact_id")
    header = {
        "library_name": "peft" if base else "transformers",
        "pipeline_tag": "text-generation",
        **({"base_model": base, "base_model_relation": "adapter"} if base else {}),
        "tags": ["atlas", record.method, *(["lora"] if base and record.method != "lora" else [])],
        "model-index": [
            {
                "name": title,
                "results": [
                    {
                        "task": {"type": "text-generation", "name": f"Recall of facts, {row['asked']}"},
                        "dataset": {"type": "atlas-facts", "name": f"{plural(row['facts'], 'fact')} of seed {seed}"},
                        "metrics": [{"type": "recall", "name": f"recall, {row['probe']}", "value": row["own"]}],
                    }
                    for row in rows
                ],
            }
        ],
    }
    loss = next(one for one in record.val_loss if (one.seed, one.sessions) == (seed, sessions))
    edited = record.editing.model_dump(exclude={"method"}) if record.editing else {}
    own = record.plugged.settings if record.plugged else edited
    load = (
        [
            f"base = AutoModelForCausalLM.from_pretrained({base!r})",
            f"model = PeftModel.from_pretrained(base, {str(folder)!r})",
            f"tokenizer = AutoTokenizer.from_pretrained({base!r})",
        ]
        if base
        else _load(folder)
    )
    return _card(
        header,
        title=title,
        what="An adapter" if base else "A model",
        record=record,
        seed=seed,
        seeds=record.seeds,
        sessions=sessions,
        facts=len(taught),
        domains=listed(f"{domain} {count}" for domain, count in sorted(Counter(taught["domain"]).items())),
        recall=rows,
        loss=loss,
        confidence=f"{CONFIDENCE:.0%}",
        settings="".join(f", {key} {value}" for key, value in own.items()),
        recipe=_in_words(record),
        versions=listed(f"{name} {version}" for name, version in record.versions.items()),
        load=load,
        base=_base(manifest),
    )


def _of_base(manifest: Manifest, folder: Path) -> str:
    header = {"library_name": "transformers", "pipeline_tag": "text-generation", "tags": ["atlas"]}
    return _card(header, title="Base", record=None, load=_load(folder), base=_base(manifest))


def _card(header: Mapping[str, Any], **values: Any) -> str:
    said = yaml.safe_dump(dict(header), sort_keys=False, allow_unicode=True, width=1000)
    body = templates.markdown("model_card", **values)
    return f"---\n# license: yours to choose\n{said}---\n\n{body}\n"


def _load(folder: Path) -> list[str]:
    return [f"{kind} = {loader}.from_pretrained({str(folder)!r})" for kind, loader in LOADERS.items()]


LOADERS = {"model": "AutoModelForCausalLM", "tokenizer": "AutoTokenizer"}


def _base(manifest: Manifest) -> dict[str, Any]:
    config, outside = manifest.config, isinstance(manifest.config.model, str)
    shape = "" if isinstance(config.model, str) else f"{config.model.layers} layers of width {config.model.width}"
    how = (
        f"taken as it is from {config.model}"
        if outside
        else f"{shape}, pretrained here for {plural(manifest.steps, 'step')} on {manifest.tokens:,} characters of "
        f"{config.corpus} (seed {config.seed}, replica {config.replica})"
    )
    return {"how": how, "outside": outside, "fingerprint": manifest.fingerprint, "val_loss": manifest.val_loss}


def _in_words(record: RunRecord) -> str:
    """The recipe, phase by phase."""
    recipe = record.recipe
    phases = [
        f"{name}: {plural(phase.steps, 'step') if phase.steps else plural(phase.epochs or 0, 'epoch')}, learning rate "
        f"{phase.lr:g}, blend {phase.blend:g}"
        for name, phase in recipe.active.items()
    ]
    return "; ".join([f"`{recipe.preset}`, loss over the {recipe.loss}", *phases]) if phases else f"`{recipe.preset}`"
