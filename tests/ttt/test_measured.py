"""What a base makes of all that may be asked is measured once, in a file that every run reads."""

import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from atlas.base.corpus import split
from atlas.base.language import validation_loss
from atlas.base.text import decode, encode
from atlas.errors import AtlasError
from atlas.pool.facts import TAUGHT, read_pool
from atlas.study.base_settings import Base
from atlas.study.jobs import Probes
from atlas.study.recipes import Recipe
from atlas.ttt import course, probes
from atlas.ttt import measured as measuring
from atlas.ttt.engine import scoring
from atlas.ttt.engine.lanes import LaneModel
from atlas.ttt.engine.scoring import score
from atlas.ttt.measured import MEASURED, read_measured
from atlas.ttt.probes import END, Prober
from atlas.ttt.run import main
from atlas.workflow import files
from tests.ttt.test_alternatives import greedy
from tests.ttt.tiny_run import CORPUS, arguments, make_measured, spec, teach
from tests.ttt.tiny_ttt import make_model

CPU = torch.device("cpu")
STILL = Recipe.model_validate({"phases": {"fast": None, "slow": None}})


def test_it_has_every_phrasing_that_may_be_asked_and_what_the_base_makes_of_it(inputs):
    found, model, prober = read_measured(inputs / "base-1.parquet"), make_model(), Prober("pool")
    facts = read_pool(inputs / "pool.parquet")
    asked = [(fact, form) for fact in facts for form in ((0, 2, 3) if fact.role == TAUGHT else (0,))]
    assert [*found.rows] == [(fact.fact_id, form) for fact, form in asked]
    plain = score(LaneModel(model), [[prober.phrasing(fact, form) for fact, form in asked]], CPU)
    for values, expected in zip(found.scores.all, plain.all, strict=True):
        np.testing.assert_allclose(values, expected[0], rtol=1e-5)
    for row, (fact, form) in zip(found.decoded, asked, strict=True):
        assert decode(row[row != END]) == decode(greedy(model, fact.prompts[form]))


def test_its_loss_is_that_of_so_many_tokens_of_the_validation_text(inputs):
    _, validation = split(CORPUS, Base().validation)
    loss = validation_loss(make_model(), encode(validation)[:201])
    assert read_measured(inputs / "base-1.parquet").val_loss == loss
    assert loss != validation_loss(make_model(), encode(validation))


def test_a_text_of_less_than_a_window_is_refused(spoilt):
    with pytest.raises(AtlasError, match=r"probes.val_tokens: 95 of the validation text in .*corpus.txt.*at least 96"):
        make_measured(spoilt, val_tokens=95)


def refusal(folder, out, run=None):
    with pytest.raises(AtlasError) as caught:
        teach(folder, out, run)
    assert not out.exists()
    return str(caught.value)


def test_the_file_of_another_base_pool_text_or_setting_is_refused(spoilt, tmp_path):
    path, kept = spoilt / "base-1.parquet", tmp_path / "kept.parquet"
    shutil.copy(path, kept)
    made = files.provenance_of(path)
    for key in ("base_fingerprint", "pool_sha256", "corpus_sha256", "device"):
        files.write_parquet(path, files.read_parquet(kept, MEASURED), made | {key: "another"})
        said = refusal(spoilt, tmp_path / "out")
        assert f"{path}: measured with {key} another, expected {made[key]}; measure the base again" in said
    shutil.copy(kept, path)
    said = refusal(spoilt, tmp_path / "out", spec(probes=Probes(val_tokens=150)))
    assert "measured with val_tokens 200, expected 150" in said
    files.write_parquet(path, files.read_parquet(kept, MEASURED), {"val_loss": None})
    assert "val_loss in its footer is None, expected a number" in refusal(spoilt, tmp_path / "out")
    path.write_bytes(kept.read_bytes()[:-20])
    assert "not a whole Parquet file" in refusal(spoilt, tmp_path / "out")


def test_a_run_needs_it_but_where_its_base_is_its_own(inputs, tmp_path):
    options = arguments(inputs, tmp_path / "out", spec())
    at = options.index("--measured")
    with pytest.raises(AtlasError, match=r"--measured: no file, expected .*; make it with atlas.ttt.measure_base"):
        main(options[:at] + options[at + 2 :])
    own = arguments(inputs, tmp_path / "out", spec(reinit=["up"]))
    assert "--measured" not in own
    with pytest.raises(AtlasError, match=r"--measured: .*expected none: the arm re-initialises up, so it"):
        main([*own, "--measured", str(inputs / "base-1.parquet")])
    main(own)
    facts = pq.read_table(tmp_path / "out" / "facts.parquet").to_pandas()
    shared = read_measured(inputs / "base-1.parquet")
    rows = [shared.rows[key] for key in zip(facts["fact_id"], facts["form"], strict=True)]
    assert (np.abs(facts["nll_base"] - shared.scores.nll[rows]) > 1e-3).mean() > 0.9


def lines_run(monkeypatch, work):
    """Every line that passes run while some work is done, by the model's state: without (False) or with adapters."""
    ran: list[tuple[bool, bytes]] = []
    run_all = scoring.passes

    def noted(model, lanes, device):
        taught = any(slot.module.merged is not None for slot in model.slots)
        ran.extend((taught, item.tokens.tobytes()) for lane in lanes for item in lane)
        return run_all(model, lanes, device)

    for module in (scoring, probes, measuring):
        monkeypatch.setattr(module, "passes", noted)
    work()
    return ran


def test_a_run_that_teaches_scores_nothing_under_the_base_and_no_probe_twice(inputs, tmp_path, monkeypatch):
    scored = []

    def noted(model, lanes, device):
        scored.append([len(lane) for lane in lanes])
        return score(model, lanes, device)

    monkeypatch.setattr(course, "score", noted)
    ran = lines_run(monkeypatch, lambda: teach(inputs, tmp_path / "out"))
    assert all(taught for taught, _ in ran)
    # the matrix has the session's own facts, or all, and those of the next: of a checkpoint, 2 and 4, its probes
    assert scored == [[2 + 2] * 2, [2] * 2, [6 + 2] * 2]
    facts, matrix = (pq.read_table(tmp_path / "out" / f"{name}.parquet").to_pandas() for name in ("facts", "matrix"))
    for sessions in (2, 4):
        asked = facts[(facts["probe"] == "taught") & (facts["sessions"] == sessions)]
        assert list(matrix.loc[matrix["session"] == sessions, "nll"]) == list(asked["nll"])


def test_an_arm_that_teaches_nothing_runs_each_line_once_for_all_lanes_and_checkpoints(inputs, tmp_path, monkeypatch):
    still = spec(recipe=STILL)
    ran = lines_run(monkeypatch, lambda: teach(inputs, tmp_path / "out", still))
    assert ran
    assert len(ran) == len(set(ran))
    assert not any(taught for taught, _ in ran)
    facts = pq.read_table(tmp_path / "out" / "facts.parquet").to_pandas()
    assert len(ran) == len(facts.loc[facts["alternatives"] > 0, ["fact_id", "form"]].drop_duplicates())
    assert (facts["nll"] == facts["nll_base"]).all()
