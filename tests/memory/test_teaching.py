"""Teaching a memory: as a lane of a study, atomically, one process at a time, and only what it can take."""

import json
import os
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from atlas import cli
from atlas.memory import store
from atlas.pool.facts import read_pool, read_stream
from atlas.study.recipes import Recipe
from atlas.study.settings import Role
from atlas.ttt.engine.lora import Adapters
from atlas.ttt.recipe import Trainer
from atlas.ttt.session import Session
from atlas.workflow import locks
from tests.memory.conftest import FACTS, facts, place
from tests.memory.conftest import teach as run_teach
from tests.ttt.tiny_run import spec, teach
from tests.ttt.tiny_ttt import make_model

CPU = torch.device("cpu")
MORE = {"The chief of Rome is": "Bo", "The chief of Bern is": "Cleo", "The chief of Oslo is": "Dan"}
KILLED = """
import os, signal, sys
from atlas import cli
from atlas.memory import store, teaching
moment, count = sys.argv.pop(1), 1
owner, name = {"step": (teaching.Trainer, "train"), "state": (store.files, "write_json")}[moment]
real = getattr(owner, name)
def killing(*args, **options):
    global count
    count -= 1
    if count < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(*args, **options)
setattr(owner, name, killing)
cli.main()
"""


def theta(folder):
    return store.read_state(folder, CPU)[1].learner.theta


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file() and path.name != ".lock"}


@pytest.mark.parametrize("preset", ["recall", "essay"])
def test_the_adapter_is_that_of_a_lane_of_a_study_to_the_byte(atlas, base, tmp_path, preset):
    roles: list[Role] = ["q", "v", "up"]
    recipe = Recipe.model_validate({"preset": preset})
    run = spec(seeds=[1], targets=roles, ranks=[4, 4], alpha=32, recipe=recipe, facts_per_session=2)
    lane = load_file(teach(base, tmp_path / "1", run) / "adapters.safetensors")

    pool = {fact.fact_id: fact for fact in read_pool(base / "pool.parquet")}
    stream = [pool[row.fact_id] for row in read_stream(base / "1.parquet")]
    for day, part in enumerate((stream[:4], stream[4:])):  # two commands of two sessions each
        rows = [json.dumps({"prompt": one.prompt, "answer": one.answer, "fact_id": one.fact_id}) for one in part]
        (tmp_path / f"{day}.jsonl").write_text("\n".join(rows))
        options = ["--preset", preset, *place(base)] if day == 0 else []
        atlas("teach", tmp_path / f"{day}.jsonl", "--memory", tmp_path / "memory", "--per-session", 2, *options)
    adapters = Adapters.attach(make_model(), roles, [4, 4], 32)
    mine = {name: tensor.numpy() for name, tensor in adapters.named(theta(tmp_path / "memory")).items()}
    assert mine.keys() == lane.keys()
    assert all(np.array_equal(mine[name], lane[name]) for name in lane)
    assert any(lane[name].any() for name in lane if name.endswith("lora_B"))


def test_sessions_may_be_of_unlike_sizes(atlas, memory):
    atlas("teach", *facts(MORE), "--memory", memory, "--per-session", 2)
    record = store.read(memory)
    assert [len(past.fact_ids) for past in record.sessions] == [3, 2, 1]
    assert [past.known for past in record.sessions] == [3, 5, 6]
    assert all(past.steps and past.code and past.versions["torch"] == torch.__version__ for past in record.sessions)
    assert [one.session for one in record.kept] == [1, 1, 1, 2, 2, 3]


def test_every_session_knows_what_the_ones_before_it_measured(atlas, memory, monkeypatch):
    seen, real = [], Trainer.session

    def noted(self, learner, session: Session):
        seen.append((session.stored, session.new, session.estimates.measured.clone()))
        return real(self, learner, session)

    monkeypatch.setattr(Trainer, "session", noted)
    atlas("teach", *facts(MORE), "--memory", memory)
    ((stored, new, measured),) = seen
    assert (stored, new) == (3, 3)
    assert (measured[0, :3] > 0).all()
    assert not measured[0, 3:].any()


def test_a_new_answer_takes_the_place_of_the_old_one(atlas, memory):
    printed = atlas("teach", "--fact", "the Capital of Peru is", "Cusco", "--memory", memory)
    assert "'the Capital of Peru is': answer 'Cusco' in the place of 'Lima', which session 1 taught" in printed
    record, state = store.read_state(memory, CPU)
    assert [one.fact.answer for one in record.kept] == ["Danube", "Rex", "Cusco"]
    assert [one.gone.why for one in record.facts if one.gone] == ["replaced"]
    assert state.estimates.losses.shape == (1, 3)
    tested = json.loads(atlas("ask", "--all", "--json", "--memory", memory))
    assert "Lima" not in {one["answer"] for one in tested["facts"]}


def test_what_is_known_is_taught_again_only_when_asked(atlas, memory):
    before = contents(memory)
    printed = atlas("teach", *facts(), "--memory", memory)
    assert "3 facts are known as they are, so nothing is taught of that; --again teaches it anew" in printed
    assert contents(memory) == before
    printed = atlas("teach", *facts(), "--memory", memory, "--again")
    assert printed.count("taught anew, which session 1 taught") == 3
    assert [one.session for one in store.read(memory).kept] == [2, 2, 2]


@pytest.fixture(scope="module")
def undisturbed(taught, tmp_path_factory):
    """The memory after three more sessions."""
    folder = shutil.copytree(taught, tmp_path_factory.mktemp("undisturbed") / "memory")
    run_teach(*facts(MORE), "--per-session", 1, "--memory", folder)
    return folder


@pytest.mark.parametrize("moment", ["step", "state"])
def test_a_kill_leaves_whole_sessions_and_the_same_command_goes_on(atlas, memory, undisturbed, moment):
    """During the second of three sessions, and between its state and the record of it."""
    (memory / "state-99.safetensors").touch()  # as one that was killed just behind a record leaves it
    command = ["teach", *facts(MORE), "--per-session", "1", "--memory", str(memory)]
    killed = [sys.executable, "-c", KILLED, moment, *command]
    done = subprocess.run(killed, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert len(store.read(memory).sessions) == 2
    assert len(json.loads(atlas("ask", "--all", "--json", "--memory", memory))["facts"]) == 4
    atlas(*command)
    assert torch.equal(theta(memory), theta(undisturbed))
    assert len([*memory.glob("state-*")]) == 1


def test_of_two_processes_one_waits_and_says_so(memory):
    command = [sys.executable, "-m", "atlas.cli", "teach", *facts(MORE), "--memory", str(memory)]
    with locks.alone(memory, "teaching this memory"):
        other = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ})
        assert other.stderr
        line = next(line for line in other.stderr if "waiting" in line)
        assert line == f"{memory}: another process is teaching this memory; waiting until it is done\n"
        assert len(store.read(memory).sessions) == 1
    assert other.communicate()[0].startswith("session 2 took ")
    assert other.returncode == 0
    assert len(store.read(memory).kept) == 6


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], 'no facts: name a file, or give some as --fact "The capital of Peru is" "Lima"'),
        (["nowhere.csv"], "nowhere.csv: no such file"),
        (["--preset", "best", *facts()], "--preset best: no such recipe; there are essay, recall"),
        (["--lr", "2", *facts()], "--lr 2: expected a rate above 0 and below 1"),
        (["--targets", "q", "x", "--ranks", "4", *facts()], "--targets.1: "),
        (["--targets", "gate", *facts()], "targets: the base has no linear layers of role 'gate'; it has q, k, v"),
        (["--ranks", "400", *facts()], "--ranks: rank 400 is impossible; expected 0 to 32 (the width)"),
        (["--ranks", "4", "4", "4", *facts()], "--ranks: 3 ranks for 2 layers; give one a layer"),
        (["--model", "nowhere", *facts()], "--model nowhere: no such file or folder"),
    ],
)
def test_what_is_not_fit_is_said_in_a_line_and_nothing_is_begun(atlas, base, tmp_path, options, said):
    model = [] if "--model" in options else ["--model", base]
    options = [*options, "--memory", tmp_path / "memory", *model, "--corpus", base / "corpus.txt"]
    assert said in atlas("teach", *options, fails=True)
    assert not (tmp_path / "memory").exists()


def test_all_problems_of_facts_are_said_at_once_before_anything_is_taught(atlas, memory, tmp_path):
    before = contents(memory)
    rows = "prompt,answer\nThe capital of Chile is,Santiago\nThe word Lima means,Lima\nThe sea is,\n"
    (tmp_path / "mine.csv").write_text(rows)
    wrong = {"A long answer is": "x" * 40, "The king of Spain is": "Jos\u00e9", "The capital of Chile is": "Rome"}
    said = atlas("teach", tmp_path / "mine.csv", *facts(wrong), "--memory", memory, fails=True)
    for part in (
        "mine.csv: line 4: answer is missing",
        "'The word Lima means'",
        "40 characters",
        "U+00E9",
        "'Santiago'",
        "'Rome'",
        "--fact: ",
    ):
        assert part in said
    assert contents(memory) == before


def test_a_sentence_that_the_model_has_no_room_for_is_refused(atlas, memory):
    said = atlas("teach", "--fact", "A word " * 14 + "is", "Bo", "--memory", memory, fails=True)
    assert said.startswith("atlas: error: nothing was taught: --fact: ")
    assert "shorten it" in said


def test_placebo_rows_are_left_out(atlas, memory, tmp_path):
    rows = "prompt,answer,role\nThe chief of Rome is,Bo,taught\nThe chief of Bern is,Cleo,placebo\n"
    (tmp_path / "mine.csv").write_text(rows)
    atlas("teach", tmp_path / "mine.csv", "--memory", memory)
    assert [one.fact.answer for one in store.read(memory).kept if one.session == 2] == ["Bo"]


def test_files_that_number_their_facts_alike_are_told_apart(atlas, memory, tmp_path):
    for name, (prompt, answer) in zip("abc", MORE.items(), strict=True):
        (tmp_path / f"{name}.csv").write_text(f"prompt,answer\n{prompt},{answer}\n")
    atlas("teach", tmp_path / "a.csv", tmp_path / "b.csv", "--memory", memory)
    atlas("teach", tmp_path / "c.csv", "--memory", memory)
    kept = store.read(memory).kept
    assert [one.fact.answer for one in kept] == [*FACTS.values(), *MORE.values()]
    assert len({one.fact.fact_id for one in kept}) == 6


def test_a_memory_is_taught_as_it_was_begun(atlas, memory):
    said = atlas("teach", *facts(MORE), "--memory", memory, "--ranks", 8, "--lr", "0.1", "--seed", 2, fails=True)
    assert "--ranks [8, 8], begun with [4, 4] | --lr 0.1, begun with 0.01 | --seed 2, begun with 1" in said
    atlas("teach", *facts(MORE), "--memory", memory, "--ranks", 4, "--seed", 1, "--targets", "up", "q", "v")


def test_the_seed_and_the_rate_of_a_new_memory_count(atlas, base, tmp_path):
    for seed in (1, 2):
        options = [*place(base), "--preset", "essay", "--lr", "0.006", "--seed", seed]
        atlas("teach", "--fact", "The chief of Rome is", "Bo", "--memory", tmp_path / str(seed), *options)
    first, second = (store.read_state(tmp_path / seed, CPU) for seed in ("1", "2"))
    assert [phase.lr for phase in first[0].manner.recipe.active.values()] == [0.006, 0.002]  # in proportion
    assert not torch.equal(first[1].learner.theta, second[1].learner.theta)


def test_progress_counts_steps_to_the_end(atlas, memory, monkeypatch):
    told = []
    monkeypatch.setattr("atlas.workflow.progress.Tracker.advance", lambda *given: told.append(given))
    atlas("teach", *facts(MORE), "--memory", memory, "--per-session", 2)
    sessions = store.read(memory).sessions[1:]
    assert len(told) == sum(past.steps for past in sessions)
    noted = [given[1:] for given in told if len(given) > 1]
    assert noted == [
        (f"session {n}: {past.recalled} of {past.known} recalled", 1) for n, past in enumerate(sessions, 2)
    ]


def test_facts_are_lost_and_found_by_the_session(base):
    one = store.KeptFact(fact=read_pool(base / "pool.parquet")[0], session=2)
    assert (one.recalled, one.lost_since) == (False, None)
    for session, recalled in [(2, True), (3, True), (4, False), (5, False), (6, True), (7, False)]:
        one = one.after(session, recalled)
        assert one.recalled == recalled
    assert one.turns == [2, 4, 6, 7]
    assert one.lost_since == 7


def test_a_number_that_is_none_is_said(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["atlas", "teach", *facts(), "--memory", "m", "--per-session", "0"])
    with pytest.raises(SystemExit):
        cli.main()
    assert "argument --per-session: '0', expected a whole number from 1 on" in capsys.readouterr().err
