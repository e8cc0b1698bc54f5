"""What a model knows untaught, and the table of its traces."""

import json
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from scipy import stats

from atlas.base.checkpoint import save
from atlas.base.text import decode
from atlas.study.base_settings import Base
from atlas.ttt.editors.trace import WordPair, case_at, known_cases, main, trace_table, word_pairs
from atlas.ttt.editors.trace_columns import TRACE
from atlas.ttt.editors.tracer import Traced
from atlas.workflow import files
from tests.honest_model import SHAPE, honest, text
from tests.ttt.editors.tiny_editors import base_options
from tests.ttt.tiny_run import certify

LINES = "the king sleeps. the king sleeps; a king knows the king's kite, and Kings keep a king keen\n"


def test_associations_are_counted_in_whole_words():
    found = word_pairs(LINES, times=1, share=0.01, elsewhere=1.0)
    assert {(pair.subject, pair.answer): len(pair.places) for pair in found} == {
        ("king", "sleeps"): 2, ("king", "knows"): 1, ("the", "king"): 2, ("Kings", "keep"): 1, ("king", "keen"): 1,
        ("and", "Kings"): 1,
    }  # fmt: skip
    starts = [LINES[place : place + 8] for pair in found[:2] for place in pair.places]
    assert starts == ["king sle", "king sle", "the king", "the king"]


@pytest.mark.parametrize(
    ("changes", "gone"),
    [
        ({"times": 2}, {"knows", "keep", "keen", "Kings"}),
        ({"share": 0.6}, {"knows", "keen"}),  # half each of what begins with k behind king
        ({"elsewhere": 0.4}, {"king", "sleeps", "Kings"}),  # king is 4 of 8 words with k; the others all of theirs
    ],
)
def test_pairs_that_are_rare_weak_or_say_nothing_are_left_out(changes, gone):
    loose: dict[str, Any] = {"times": 1, "share": 0.01, "elsewhere": 1.0}
    every = {pair.answer for pair in word_pairs(LINES, **loose)}
    assert every - {pair.answer for pair in word_pairs(LINES, **(loose | changes))} == gone


def test_a_case_ends_in_the_second_word():
    case = case_at(LINES, WordPair("king", "sleeps", [4, 21]), 21, context=10)
    assert decode(case.line.tokens) == "\neeps. the king sleeps"
    assert decode(case.line.tokens[case.line.answer :]) == "leeps"
    assert decode(case.line.tokens[case.first : case.last + 1]) == "king"
    assert decode(case_at(LINES, WordPair("the", "king", [0]), 0, context=10).line.tokens) == "\nthe king"


def probabilities(model, cases):
    """Of every case: the answer's probability and whether greedy decoding gives it, one pass a case."""
    found = []
    for case in cases:
        tokens = torch.from_numpy(case.line.tokens.astype(np.int64))
        steps = model(tokens[None, :-1])[0].log_softmax(-1)[case.line.answer - 1 :]
        right = steps.argmax(-1).equal(tokens[case.line.answer :])
        found.append((steps.gather(1, tokens[case.line.answer :, None]).sum().exp().item(), right))
    return found


def test_only_what_the_model_gives_by_itself_is_known():
    model, pairs = honest(), word_pairs(text(), times=20, share=0.3, elsewhere=1.0)
    cases = list(known_cases(model, text(), pairs, context=12, least=0.3, seed=0))
    assert 3 <= len(cases) <= len(pairs)
    assert len({case.name.partition("/")[0] for case in cases}) == len(cases)
    assert all(likely >= 0.3 and right for likely, right in probabilities(model, cases))
    certain = list(known_cases(model, text(), pairs, context=12, least=0.999, seed=0))
    assert len(certain) < len(cases)
    wrong = [WordPair("king", "zebra", [text().index("king")])]
    assert not list(known_cases(model, text(), wrong, context=12, least=0.0, seed=0))


def traced(*effects):
    """Cases with one effect each, of hidden states of layer 0 at the subject's last token."""
    cases = []
    for effect in effects:
        every = np.full((3, 2, 6), np.nan)
        every[0, 0, 2] = effect
        cases.append(Traced(clean=0.8, corrupted=0.1, effects=every))
    return cases


def test_the_table_has_means_and_student_s_intervals():
    (row,) = trace_table(traced(0.1, 0.2, 0.6)).to_pylist()
    low, high = stats.t.interval(0.95, 2, loc=0.3, scale=stats.sem([0.1, 0.2, 0.6]))
    assert (row["kind"], row["layer"], row["position"], row["n"]) == ("hidden", 0, "subject_last", 3)
    assert (row["effect"], row["ci_low"], row["ci_high"]) == pytest.approx((0.3, low, high))
    assert (row["probability"], row["corrupted"]) == pytest.approx((0.8, 0.1))
    (row,) = trace_table(traced(0.1)).to_pylist()
    assert (row["effect"], row["ci_low"]) == (0.1, None)
    assert trace_table([]).num_rows == 0


def trace(folder, out, **changes):
    spec = {"times": 20, "share": 0.3, "elsewhere": 1.0, "cases": 4, "context": 12, "samples": 2} | changes
    main(["--spec", json.dumps(spec), *base_options(folder, out)])


@pytest.fixture(scope="module")
def honest_base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("honest")
    files.write_text(folder / "corpus.txt", text())
    told: dict[str, Any] = {
        "val_loss": 1.0,
        "tokens": 1,
        "seconds": 1,
        "corpus_sha256": files.sha256(folder / "corpus.txt"),
    }
    manifest = save(folder / "base.safetensors", folder / "base.json", honest(), config=Base(model=SHAPE), **told)
    certify(folder, passed=True, fingerprint=manifest.fingerprint)
    return folder


def test_the_step_writes_a_table_of_what_the_base_knows(honest_base, tmp_path):
    for name in ("one", "two"):
        trace(honest_base, tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    table = files.read_parquet(tmp_path / "one", TRACE)
    assert set(table.column("n").to_pylist()) == {4}
    assert set(table.column("kind").to_pylist()) == {"hidden", "mlp", "attention"}
    assert len(json.loads(pq.read_schema(tmp_path / "one").metadata[b"atlas"])["cases"]) == 4
    rows = table.to_pandas()
    assert (rows.probability > rows.corrupted).all()
    assert rows.effect.max() > 0.05


def test_a_base_that_knows_nothing_gives_an_empty_table_and_says_so(honest_base, tmp_path, capsys):
    trace(honest_base, tmp_path / "none", probability=0.99999)
    assert "the base knows 0 of" in capsys.readouterr().err
    assert files.read_parquet(tmp_path / "none", TRACE).num_rows == 0
