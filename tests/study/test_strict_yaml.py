"""Files that people write: doubled keys, traps of YAML and what is no YAML are said in one line, with key and line."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import yaml

from atlas.errors import AtlasError
from atlas.pool import builtin
from atlas.study import config, strict_yaml
from atlas.tables import ledger

REPOSITORY = Path(__file__).parents[2]
ARM = "arms:\n  qv: {targets: [q, v]}\n"


def refused(read, *paths) -> list[str]:
    with pytest.raises(AtlasError) as caught:
        read(*paths)
    assert "\n" not in str(caught.value)
    return str(caught.value).split(" | ")


def test_all_doubled_keys_are_said_with_their_lines_and_the_other_mistakes(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(
        "lanes: 2\narms:\n  qv: {targets: [q], targets: [v]}\n  qv: {targets: [v],\n    ranks: 999}\n"
        "'lanes': 3\nsedes: 1\n"
    )
    assert refused(config.load, path) == [
        f"{path}: arms.qv.targets: found twice, in lines 3 and 3; keep one of the two",
        f"{path}: arms.qv: found twice, in lines 3 and 4; keep one of the two",
        f"{path}: lanes: found twice, in lines 1 and 6; keep one of the two",
        f"{path}: sedes: unknown key; see docs/study.schema.json for the keys there are (line 7)",
        f"{path}: arms.qv.ranks: rank 999 is impossible; expected 0 to 128 (the width) (line 5)",
    ]


def test_a_mistake_names_the_file_that_makes_it_and_the_command_line(tmp_path):
    below, on_top = tmp_path / "config.yaml", tmp_path / "on_top.yaml"
    below.write_text(f"{ARM}alpha: -1\nlanes: 0\n")
    on_top.write_text("# mine\nlanes: -2\n")
    assert [said.partition(": ")[0] for said in refused(config.load, below, on_top)] == [str(on_top), str(below)]
    given = {"arms": {"qv": {"targets": ["q", "v"]}}, "alpha": -1, "lanes": -3, "seeds": ["x"]}
    said = refused(lambda: config.study(given, [below, on_top]))
    assert [(line.split(": ")[0].rpartition("/")[2], line.split(": ")[1]) for line in said] == [
        ("--config", "seeds.0"),
        ("--config", "lanes"),
        ("config.yaml", "alpha"),
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("seeds: [010]", "seeds.0: YAML takes 010 for 8; .*line 3"),
        ("seeds: [1:30]", "seeds.0: YAML takes 1:30 for 90;"),
        ("seeds: [2001-01-02]", "seeds.0: YAML takes 2001-01-02 for a date;"),
        ("seeds: 1-8", "seeds: .*valid list, found '1-8'"),
        ("seeds: ['1-999999999999']", "seeds.0: range '1-999999999999' is too large; expected at most 10,000 seeds"),
        ("seeds: [99999999999999999999]", "seeds.0: .*less than or equal to 9223372036854775807"),
        ("lanes: yes", "lanes: expected neither true nor false; YAML takes yes, no, on and off"),
        ("pool: {shares: {codes: on}}", "pool.shares: expected neither true nor false"),
        ("alpha: .inf", "alpha: .*finite number, found inf"),
        ("base: {training: {lr: .nan}}", "base.training.lr: .*found nan"),
        ("ablations: {no: {targets: [q]}}", "ablations.*expected a name; YAML takes no, off, null and 1.*found False"),
        ("ablations: {1: {targets: [q]}}", "ablations.1: expected a name; .*found 1"),
        ("ablations: {null: {targets: [q]}}", "ablations.None: expected a name; .*found None"),
        ("contrasts: {x: [[qv, off]]}", "contrasts: expected neither true nor false"),
        ("? [a, b]\n: 1", "not valid YAML .found unhashable key, line 3"),
        ("null: 1", "None"),
    ],
)
def test_what_yaml_takes_for_something_else_is_refused(tmp_path, text, said):
    path = tmp_path / "mine.yaml"
    path.write_text(f"{ARM}{text}\n")
    with pytest.raises(AtlasError, match=said) as caught:
        config.load(path)
    assert str(caught.value).startswith(f"{path}: ")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"arms: [\n", "not valid YAML .*line 2"),
        (b"arms:\n\tqv: {}\n", "not valid YAML .*line 2.; indent with spaces"),
        (b"a: 1\n---\nb: 2\n", "not valid YAML .*line 2"),
        (b"a: *b\n", "not valid YAML .*undefined alias"),
        (b"a: !!python/name:os.system 1\n", "not valid YAML"),
        (b"- 1\n", "found a list, expected keys"),
        (b"text\n", "found 'text', expected keys"),
        (b"# nothing\n", "found nothing, expected keys"),
        ("a: 1\n".encode("utf-16"), "byte 0 is not UTF-8"),
        (b"a: caf\xe9\n", "byte 6 is not UTF-8"),
    ],
)
def test_what_is_no_yaml_is_named(tmp_path, content, said):
    path = tmp_path / "mine.yaml"
    path.write_bytes(content)
    with pytest.raises(AtlasError, match=f"^{path}: {said}") as caught:
        config.load(path)
    assert "\n" not in str(caught.value)


def test_a_folder_and_a_missing_file_are_named(tmp_path):
    assert refused(config.load, tmp_path)[0].startswith(f"{tmp_path}: is a directory")
    assert refused(config.load, tmp_path / "no.yaml")[0].startswith(f"{tmp_path / 'no.yaml'}: no such file")


def test_anchors_merged_mappings_byte_order_marks_and_json_are_fine(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_bytes(
        b"\xef\xbb\xbfarms:\n  a: &a {targets: [q], ranks: 4}\n  b: {<<: *a, ranks: 8}\n  c: *a\n"
        b"  d: {<<: [*a], targets: [v]}\nlanes: 1_0\n"
    )
    loaded = config.load(path)
    assert [arm.ranks for arm in loaded.arms.values()] == [4, 8, 4, 4]
    assert loaded.lanes == 10
    path = tmp_path / "mine.json"
    path.write_text('{\n\t"arms": {"a": {"targets": ["q"]}},\n\t"lanes": 3\n}')
    assert config.load(path).lanes == 3


@pytest.mark.parametrize("read", [builtin.read_relations, ledger.read])
def test_doubled_keys_are_found_in_the_other_files_that_people_add_to(tmp_path, read):
    path = tmp_path / "some.yaml"
    path.write_text("one: {x: 1}\none: {x: 2}\n")
    assert refused(read, path) == [f"{path}: one: found twice, in lines 1 and 2; keep one of the two"]


def tracked(*patterns: str) -> list[Path]:
    listed = subprocess.run(["git", "ls-files", *patterns], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    return [REPOSITORY / name for name in listed.stdout.splitlines()]


@pytest.mark.parametrize("path", tracked("*.yaml"), ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_no_file_of_the_repository_says_a_key_twice(path):
    assert strict_yaml.load(path) == yaml.safe_load(path.read_text(encoding="utf-8"))
