"""Sentences by tokenizers of every kind: the tokens of the whole, cut where the prompt ends."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, processors
from transformers import AutoTokenizer, LlamaConfig, PreTrainedTokenizerFast

from atlas.base.pieces import Pieces, text_of
from atlas.base.text import gap
from atlas.errors import AtlasError
from tests.base.tiny_tokenizers import KINDS, LINES, START, likeliest, reader_of, tokenizer, word_piece
from tests.guard.gguf_files import written

SPACED = "aceilnoprstBFPTZ1234567.,;éãë"  # all have tokens in every kind
EVERY = SPACED + "\"'(*08ñßЖ巴黎東京のไทย한😀"
GPT2_LIKE = ("gpt2", "smollm2")


def joined(reader, prompt, answer):
    opening, whole = (reader.opening(text, "t").tolist() for text in (prompt, prompt + answer))
    return whole[: len(opening)] != opening


def words(alphabet, most):
    return st.lists(st.text(alphabet, min_size=1, max_size=6), min_size=1, max_size=most).map(" ".join)


def sentences():
    """A kind, a prompt and an answer; the unigrams read no other characters than they were trained on."""
    return st.sampled_from([*KINDS]).flatmap(
        lambda kind: st.tuples(st.just(kind), *(words(SPACED if kind == "unigram" else EVERY, most) for most in (4, 2)))
    )


@given(sentences())
def test_a_sentence_has_the_tokens_that_the_models_own_tokenizer_gives(sentence):
    kind, prompt, answer = sentence
    reader = reader_of(kind)
    if gap(prompt) == "":  # behind a space, every sentence can be cut
        assume(not joined(reader, prompt, answer))
    found = reader.sentence(prompt, answer, "t")
    whole = f"{prompt}{gap(prompt)}{answer}\n"
    theirs = PreTrainedTokenizerFast(tokenizer_object=tokenizer(kind))(whole).input_ids
    assert found.tokens[-len(theirs) :].tolist() == theirs
    assert len(found.tokens) - len(theirs) == (reader_of(kind).tokenizer.post_processor is None or kind in GPT2_LIKE)
    assert found.tokens[: found.answer].tolist() == reader.opening(prompt, "t").tolist()
    assert reader.verbatim(found.behind) == f"{gap(prompt)}{answer}\n"
    assert reader.decode(found.behind) == f"{answer}\n"
    assert np.flatnonzero(reader.line_ends[found.behind]).tolist() == [len(found.behind) - 1]


@pytest.mark.parametrize("kind", GPT2_LIKE)
@given(prompt=words(SPACED, 4), answer=words(SPACED, 2))
def test_tokenizers_of_gpt2s_kind_give_what_prompt_and_answer_gave_apart(kind, prompt, answer):
    assume(gap(prompt))
    reader = reader_of(kind)
    apart = [reader.start, *(token for part in (prompt, f" {answer}", "\n") for token in reader.encode(part))]
    assert reader.sentence(prompt, answer, "t").tokens.tolist() == apart


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("llama 2", "<s> ▁ The ▁capital ▁of ▁Peru ▁is | ▁Li m a <0x0A>"),
        ("mistral", "<s> ▁ The ▁capital ▁of ▁Peru ▁is | ▁Li m a <0x0A>"),
        ("gemma", "<s> The ▁capital ▁of ▁Peru ▁is | ▁Li m a <0x0A>"),
        ("gpt2", "</s> The Ġcapital Ġof ĠP er u Ġis | Ġ Li ma Ċ"),
        ("llama 3", "<s> The Ġcapital Ġof ĠP er u Ġis | Ġ Li ma Ċ"),
    ],
)
def test_what_is_taught_by_each_kind(kind, expected):
    reader = reader_of(kind)
    found = reader.sentence("The capital of Peru is", "Lima", "t")
    names = [reader.tokenizer.id_to_token(token) for token in found.tokens]
    assert [*names[: found.answer], "|", *names[found.answer :]] == expected.split()


@pytest.mark.parametrize("kind", KINDS)
def test_numbers_come_back_whole(kind):
    reader = reader_of(kind)
    for answer in ("1492", "34567", "1.5", "12"):
        assert reader.decode(reader.sentence("born in", answer, "t").behind) == f"{answer}\n"


def test_a_sign_at_the_end_may_share_its_token_with_the_line_end():
    reader = reader_of("llama 3")
    behind = reader.sentence("The code is", "one.", "t").behind
    assert reader.tokenizer.id_to_token(behind[-1]) == ".Ċ"
    assert reader.line_ends[behind[-1]]
    assert reader.decode(behind) == "one.\n"


def joining(merge):
    """A tokenizer of characters, two of which become one token."""
    names = ["\n", " ", *"a是巴黎", "".join(merge)]
    made = Tokenizer(models.BPE({name: at for at, name in enumerate(names)}, [merge]))
    made.decoder = decoders.Fuse()
    return Pieces.parse(json.loads(made.to_str()), {"vocab_size": len(names)}, "t")


def test_what_cannot_be_cut_is_refused_and_what_can_is_not():
    told = "mine.csv: fact 3: the model's tokenizer joins the end of the prompt 'a是' to the answer '巴黎', in '是巴'"
    with pytest.raises(AtlasError, match=re.escape(told)) as error:
        joining(("是", "巴")).sentence("a是", "巴黎", "mine.csv: fact 3")
    assert "\n" not in str(error.value)
    found = joining(("巴", "黎")).sentence("a是", "巴黎", "t")
    assert (found.answer, len(found.behind)) == (3, 2)
    with pytest.raises(AtlasError, match="joins the end of the prompt 'a ' to"):
        joining((" ", "巴")).sentence("a ", "巴黎", "t")
    with pytest.raises(AtlasError, match="t: the model's tokenizer joins the end of the prompt 'a' to the answer 'a'"):
        joining(("a", " "))  # there no sentence at all could be cut


@pytest.mark.parametrize(
    ("kind", "text", "lost"),
    [
        ("unigram", "The capital\nof Жa", r"character 'Ж' (U+0416) at line 2, column 4 is not read"),
        ("unigram", "café 巴ñ", r"character 'ñ' (U+00F1) at line 1, column 7 is not read"),
    ],
)
def test_characters_that_a_model_does_not_read_are_named(kind, text, lost):
    with pytest.raises(AtlasError, match=re.escape(f"mine.csv: {lost}")) as error:
        reader_of(kind).encode(text, "mine.csv")
    assert "\n" not in str(error.value)


def test_a_tokenizer_that_drops_what_it_does_not_know_drops_nothing_in_silence():
    with pytest.raises(AtlasError, match=re.escape("character 'é' (U+00E9) at line 1, column 5")):
        joining(("a", "a")).sentence("aa ", "aé", "t")


def test_what_is_composed_otherwise_is_the_same_text():
    found = reader_of("unigram").sentence("The name is", "Zoe\u0308", "t")
    assert reader_of("unigram").decode(found.behind) == "Zoë\n"


@pytest.mark.parametrize("kind", KINDS)
def test_characters_are_counted_wherever_a_text_is_cut(kind):
    reader, text = reader_of(kind), "The" + "".join(LINES).removeprefix("The")
    tokens = reader.encode(text)
    added = reader.characters(tokens) - len(text)
    assert added == (reader.verbatim(tokens[:1]).startswith(" "))  # a space in front of a text, by the tokenizer
    for cut in range(0, len(tokens), 7):
        assert reader.characters(tokens[:cut]) + reader.characters(tokens[cut:]) == len(text) + added


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("subject", ["Zoë", "Brontë in", "東京", "São"])
def test_the_tokens_of_a_subject_say_it(kind, subject):
    reader, prompt = reader_of(kind), f"The capital of {subject} is"
    start = prompt.index(subject)
    first, last = reader.span(prompt, start, start + len(subject))
    tokens = reader.opening(prompt, "t")
    assert reader.verbatim(tokens[first : last + 1]).strip() == subject
    assert reader.span(prompt, 0, len(prompt))[1] == len(tokens) - 1


@pytest.mark.parametrize(
    ("post", "config", "start"),
    [
        (START, {"bos_token_id": 2}, "<s>"),  # what the tokenizer itself puts in front
        (None, {"bos_token_id": 1, "eos_token_id": 2}, "<s>"),
        (None, {"bos_token_id": None, "eos_token_id": 2}, "</s>"),
        (None, {"eos_token_id": [2, 0]}, "Ċ"),
        (None, {"bos_token_id": 50256}, "Ċ"),  # a default of another size
    ],
)
def test_a_line_begins_as_texts_of_the_model_do(post, config, start):
    made = Tokenizer.from_str(tokenizer("gpt2").to_str())
    if post:
        made.post_processor = post
    found = Pieces.parse(json.loads(made.to_str()), {"vocab_size": made.get_vocab_size(), **config}, "t")
    assert made.id_to_token(found.start) == start


def several(made):
    made.post_processor = processors.TemplateProcessing(single="<s> </s> $A", special_tokens=[("<s>", 1), ("</s>", 2)])
    return made


@pytest.mark.parametrize(
    ("made", "told"),
    [
        (word_piece(), "has no token for a line end, with which answers end"),
        (several(likeliest()), r"puts 2 tokens in front of a text \(<s> </s>\), expected one or none"),
    ],
)
def test_a_tokenizer_that_sentences_cannot_be_taught_with_is_refused(made, told):
    with pytest.raises(AtlasError, match=f"^my/tokenizer.json: {told}"):
        Pieces.parse(json.loads(made.to_str()), {"vocab_size": made.get_vocab_size()}, "my/tokenizer.json")


def test_a_tokenizer_of_another_model_is_refused():
    made = tokenizer("llama 2")
    with pytest.raises(AtlasError, match="t: token 1 begins a text, but the model has 1; give it its own tokenizer"):
        Pieces.parse(json.loads(made.to_str()), {"vocab_size": 1}, "t")
    with pytest.raises(AtlasError, match=r"t: token \d+, but the model has 200; give it its own tokenizer"):
        Pieces.parse(json.loads(made.to_str()), {"vocab_size": 200}, "t")


def test_how_a_folder_reads_is_known_without_its_weights(tmp_path):
    made = tokenizer("llama 2")
    PreTrainedTokenizerFast(tokenizer_object=made, bos_token="<s>").save_pretrained(tmp_path)
    LlamaConfig(vocab_size=made.get_vocab_size(), max_position_embeddings=40).save_pretrained(tmp_path)
    text, context = text_of(tmp_path)
    assert context == 40
    found = text.sentence("Zoë Brontë est née à", "São Tomé", "t").tokens.tolist()
    assert found == AutoTokenizer.from_pretrained(tmp_path)("Zoë Brontë est née à São Tomé\n").input_ids


def test_how_a_gguf_file_reads(tmp_path):
    text, context = text_of(written(tmp_path / "tiny.gguf", "llama, wide heads"))
    assert context == 24
    found = text.sentence("to be", "that", "t")
    assert text.decode(found.behind) == "that\n"


def test_what_is_missing_is_said_in_a_line(tmp_path):
    LlamaConfig().save_pretrained(tmp_path)
    with pytest.raises(AtlasError, match=r"tokenizer\.json: no such file; save the model's fast tokenizer there"):
        text_of(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(AtlasError, match=r"tokenizer\.json: not a tokenizer .*; give the model's own"):
        text_of(tmp_path)
    with pytest.raises(AtlasError, match=r"config\.json: no such file"):
        text_of(Path("nowhere"))
