"""Files of every kind: whatever a file is, the same rows give the same facts; what cannot be read is named."""

import csv
import gzip
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atlas.errors import AtlasError
from atlas.pool import own
from atlas.pool.facts import Unfit
from tests.pool.strict_reading import facts_of

ROWS = [{"prompt": "The capital of Peru is", "answer": "Lima"}, {"prompt": "The capital of Côte", "answer": "Pró"}]
PLAIN = "prompt,answer\nThe capital of Peru is,Lima\nThe capital of Côte,Pró\n"


def facts(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return [(fact.prompt, fact.answer) for fact in facts_of(path)]


WANTED = [(row["prompt"], row["answer"]) for row in ROWS]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", PLAIN),
        ("a.csv", PLAIN.replace(",", ";")),
        ("a.csv", PLAIN.replace(",", "; ")),
        ("a.csv", PLAIN.replace(",", "\t")),
        ("a.CSV", PLAIN.replace("\n", "\r\n")),
        ("a.csv", PLAIN.replace("\n", "\r")),
        ("a.csv", f"\n{PLAIN}\n,\n"),
        ("a.csv", PLAIN.replace("\n", ",\n")),
        ("a.tsv", PLAIN.replace(",", "\t")),
        ("a.tsv", PLAIN),
        ("a.csv", b"\xef\xbb\xbf" + PLAIN.encode()),
        ("a.csv", PLAIN.encode("utf-16")),
        ("a.csv", b"\xfe\xff" + PLAIN.encode("utf-16-be")),
        ("a.csv", PLAIN.encode("utf-32")),
        ("a.csv.gz", gzip.compress(PLAIN.encode(), mtime=0)),
        ("a.jsonl", "\n\n".join(map(json.dumps, ROWS))),
        ("a.ndjson", "".join(json.dumps(row) + "\r\n" for row in ROWS)),
        ("a.jsonl", json.dumps(ROWS, indent=1)),
        ("a.json", json.dumps(ROWS)),
        ("a.json", json.dumps(ROWS).encode("utf-16")),
        ("a.json.gz", gzip.compress(json.dumps(ROWS).encode(), mtime=0)),
        ("a.json", "\n".join(map(json.dumps, ROWS))),
        ("a.json", json.dumps({"version": 1, "data": ROWS})),
        ("a.json", json.dumps({"x": ROWS[0], "y": ROWS[1]})),
        ("a.json", json.dumps({name: [row[name] for row in ROWS] for name in ROWS[0]})),
        ("a.json", json.dumps({name: {str(i): row[name] for i, row in enumerate(ROWS)} for name in ROWS[0]})),
    ],
)
def test_a_file_is_read_however_it_was_saved(tmp_path, name, content):
    assert facts(tmp_path / name, content) == WANTED


def test_one_record_is_a_pool(tmp_path):
    assert facts(tmp_path / "a.json", json.dumps(ROWS[0])) == WANTED[:1]


text = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1).filter(str.strip)
row = st.fixed_dictionaries({"prompt": text, "answer": text, "aliases": st.lists(text), "domain": st.none() | text})


@settings(max_examples=60, deadline=None)
@given(rows=st.lists(row, min_size=1, max_size=4))
def test_the_same_rows_give_the_same_facts(tmp_path_factory, rows):
    folder = tmp_path_factory.mktemp("kinds")
    for name, delimiter in {"a.csv": ",", "b.csv": ";", "a.tsv": "\t"}.items():
        with open(folder / name, "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, [*rows[0]], delimiter=delimiter)
            writer.writeheader()
            writer.writerows(one | {"aliases": json.dumps(one["aliases"])} for one in rows)
    (folder / "a.jsonl").write_text("".join(json.dumps(one) + "\n" for one in rows), encoding="utf-8")
    (folder / "a.json").write_text(json.dumps(rows, ensure_ascii=False), encoding="utf-8")
    pq.write_table(pa.Table.from_pylist(rows), folder / "a.parquet")
    read = [facts_of(path) for path in sorted(folder.iterdir())]
    assert len(read) == 6
    assert all(found == read[0] for found in read)
    assert [fact.answer for fact in read[0]] == [one["answer"].strip() for one in rows]


@pytest.mark.parametrize(
    ("header", "found"),
    [
        (
            'prompt;answer, the right one;"x"',
            "a comma, too; cells end at a semicolon: 'prompt', 'answer, the right one'",
        ),
        ("prompt\tnote; a\tanswer", "a semicolon, too; cells end at a tab: 'prompt', 'note; a' and 'answer'"),
    ],
)
def test_a_header_with_two_delimiters_is_read_by_the_one_that_gives_known_names_and_it_is_said(
    tmp_path, capsys, header, found
):
    (tmp_path / "a.csv").write_text(header + "\n", encoding="utf-8")
    with pytest.raises(AtlasError, match=r"no facts|no column 'answer'"):
        facts_of(tmp_path / "a.csv")
    assert f"a.csv: the header has {found}" in capsys.readouterr().err


def test_rows_with_too_many_or_too_few_cells_are_named_with_their_lines(tmp_path):
    text = 'prompt,answer\n"The capital\nof Peru is",Lima\nThe river, so called,Wend\nThe moon is\nThe sun is,a star\n'
    (tmp_path / "a.csv").write_text(text, encoding="utf-8")
    read = own.read_pool_file(tmp_path / "a.csv")
    reason, more = "not as many cells as the header has", "; quote texts with a comma in them"
    assert read.unfit == [
        Unfit("line 4", reason + more, "3 of 2, the last is 'Wend'"),
        Unfit("line 5", reason, "1 of 2, the last is 'The moon is'"),
    ]
    assert [fact.fact_id for fact in read.facts] == ["own/00001", "own/00004"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "a.xlsx",
            b"PK",
            r"unknown kind of pool '.xlsx'; expected .csv, .tsv, .json, .jsonl, .ndjson and .parquet .*save",
        ),
        ("a.parquet.gz", b"", "unknown kind of pool '.parquet'"),
        ("a.csv", "prompt,answer\n", "no facts"),
        ("a.csv", "", "no facts"),
        ("a.json", "[]", "no facts"),
        (
            "a.csv",
            "prompt,answer,PROMPT ,Answer\na,b,c,d\n",
            "columns 1 'prompt' and 3 'PROMPT ' have one name | columns 2 ",
        ),
        (
            "a.csv",
            'prompt,answer\n"The "mayor,a\n',
            r"line 2: not valid CSV \(.*\); in a quoted cell write quotes twice, and nothing behind it",
        ),
        ("a.csv", 'prompt,answer\n"The mayor,a\nb,c\nd,e\n', "line 2: not valid CSV"),
        (
            "a.csv",
            b"prompt,answer\nThe mayor of,a\nZ\xfcrich is,b\n",
            "line 3, byte 2: 0xFC is not UTF-8; save the file as "
            r"UTF-8 \(as cp1252 it would read 'Z\u00fcrich is,b'\)",
        ),
        ("a.jsonl", b'{"prompt": "\xe9"}', "line 1, byte 13: 0xE9 is not UTF-8"),
        (
            "a.csv",
            PLAIN.encode("utf-16-le"),
            "zero bytes, as in UTF-16 without its byte-order mark; save the file as UTF-8",
        ),
        ("a.csv", PLAIN.encode("utf-16")[:-1], "not whole UTF-16 text"),
        ("a.csv.gz", PLAIN.encode(), "not a whole gzip file"),
        ("a.csv.gz", gzip.compress(PLAIN.encode(), mtime=0)[:-9], "not a whole gzip file"),
        ("a.json", '[{"prompt": "a"', r"not valid JSON \(.*\); copy it again"),
        (
            "a.json",
            '[{"prompt": "a", "answer": "b", "prompt": "c"}]',
            'the key \'prompt\' is there twice, as "a" and "c"',
        ),
        ("a.json", '["a", {"prompt": "b"}, 3]', 'record 1: found "a" | record 3: found 3; expected an object'),
        ("a.json", '{"prompt": "a", "answer": %s}' % ("1" * 5000), "not valid JSON .Exceeds the limit"),
        ("a.json", "[" * 200000, "not valid JSON .maximum recursion"),
        ("a.jsonl", '{"prompt": "a", "answer": "\\ud83d"}', r"line 1: answer: half a character, .* .found '.ud83d'"),
        (
            "a.json",
            '{"train": [{"a": 1}], "test": [{"a": 1}]}',
            "lists of records at 'train' and 'test'; save the one meant",
        ),
        (
            "a.jsonl",
            '{"prompt": "a"\n{"prompt": "b", "prompt": "c"}\n["d"]\n',
            "line 1: not valid JSON .* | line 2: the key 'pro",
        ),
        (
            "a.jsonl",
            '{"prompt": "a", "answer": "b"}\n\n7\n',
            "line 3: found 7; expected an object with the columns as keys",
        ),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(AtlasError) as error:
        facts_of(tmp_path / name)
    assert str(error.value).startswith(f"{tmp_path / name}: ")
    assert error.match(message.replace(" | ", r" \| "))
    assert "\n" not in str(error.value)


def test_columns_of_parquet_with_one_name_are_refused(tmp_path):
    column = pa.array(["a"])
    pq.write_table(
        pa.Table.from_arrays([column, column, column], ["prompt", "answer", "answer"]), tmp_path / "a.parquet"
    )
    with pytest.raises(AtlasError, match="columns 2 'answer' and 3 'answer' have one name; rename or remove one"):
        facts_of(tmp_path / "a.parquet")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(AtlasError, match=r"none.csv: no such file; check the path"):
        facts_of(tmp_path / "none.csv")


def test_what_stands_beside_a_list_of_records_is_said(tmp_path, capsys):
    facts(tmp_path / "a.json", json.dumps({"version": 1, "data": ROWS}))
    assert "reads the list at 'data'; not used beside it: version" in capsys.readouterr().err
