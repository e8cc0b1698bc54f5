"""Tiny tokenizers of the kinds that language models have, trained on a few lines of several languages."""

import json
from collections.abc import Callable
from functools import cache

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from atlas.base.pieces import Pieces

LINES = (
    "The capital of France is Paris, the capital of Peru is Lima.\n\n",
    "Zoë Brontë was born in 1492 in São Tomé; the code of room 12 is 34567.\n",
    "法国的首都是巴黎。秘鲁的首都是利马。日本の首都は東京です。\n",
    "เมืองหลวงของประเทศไทยคือกรุงเทพ\n",
)
SPECIAL = ["<unk>", "<s>", "</s>"]
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
START = processors.TemplateProcessing(single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", 1)])
SPLIT = (  # letters with one other character before them, digits by three, signs with the line ends behind them
    r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def by_word(normalizer=None, pre_tokenizer=None, *, strip=True):
    """Pieces with a ▁ for the space in front, and a token of each byte for characters without a piece."""
    learning = Tokenizer(models.BPE())
    learning.normalizer = normalizers.Replace(" ", "▁")
    learning.pre_tokenizer = pre_tokenizers.Split(Regex("(?=▁)|\n"), "removed")
    trainer = trainers.BpeTrainer(vocab_size=90, show_progress=False)
    learning.train_from_iterator([line for line in LINES if line.isascii()] * 3, trainer)
    learned = json.loads(learning.to_str())["model"]
    pieces = [*SPECIAL, *BYTES, *learned["vocab"], "é", "巴"]
    vocabulary = {piece: at for at, piece in enumerate(pieces)}
    made = Tokenizer(
        models.BPE(
            vocabulary, [(a, b) for a, b in learned["merges"]], unk_token="<unk>", byte_fallback=True, fuse_unk=True
        )
    )
    if normalizer is not None:
        made.normalizer = normalizer
    if pre_tokenizer is not None:
        made.pre_tokenizer = pre_tokenizer
    first = [decoders.Strip(" ", 1, 0)] if strip else []
    made.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), *first])
    made.post_processor = START
    return made


def by_byte(*splits, end=None):
    """Pieces of bytes, where texts are split first."""
    made = Tokenizer(models.BPE())
    level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=end is None)
    made.pre_tokenizer = pre_tokenizers.Sequence([*splits, level])
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=360, initial_alphabet=alphabet, special_tokens=SPECIAL, show_progress=False
    )
    made.train_from_iterator(LINES * 3, trainer)
    made.decoder = decoders.ByteLevel()
    made.post_processor = end or processors.ByteLevel(trim_offsets=True)
    return made


def likeliest():
    """SentencePiece's unigrams, with a token for the line end."""
    made = Tokenizer(models.Unigram())
    made.normalizer = normalizers.NFC()
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split("\n", "isolated"), pre_tokenizers.Metaspace("▁", "first")]
    )
    trainer = trainers.UnigramTrainer(
        vocab_size=160, special_tokens=SPECIAL, unk_token="<unk>", initial_alphabet=["\n"], show_progress=False
    )
    made.train_from_iterator(LINES * 3, trainer)
    made.decoder = decoders.Metaspace("▁", "first")
    made.post_processor = START
    return made


KINDS: dict[str, Callable[[], Tokenizer]] = {
    "llama 2": lambda: by_word(normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])),
    "mistral": lambda: by_word(pre_tokenizer=pre_tokenizers.Metaspace("▁", "first", split=False)),
    "always": lambda: by_word(pre_tokenizer=pre_tokenizers.Metaspace("▁", "always", split=True)),
    "gemma": lambda: by_word(
        normalizers.Replace(" ", "▁"), pre_tokenizers.Split(" ", "merged_with_previous"), strip=False
    ),
    "gpt2": by_byte,
    "smollm2": lambda: by_byte(pre_tokenizers.Digits(individual_digits=True)),
    "llama 3": lambda: by_byte(
        pre_tokenizers.Split(Regex(SPLIT), "isolated"),
        end=processors.Sequence([processors.ByteLevel(trim_offsets=False), START]),
    ),
    "unigram": likeliest,
}


@cache
def tokenizer(kind: str) -> Tokenizer:
    return KINDS[kind]()


@cache
def reader_of(kind: str) -> Pieces:
    made = tokenizer(kind)
    return Pieces.parse(json.loads(made.to_str()), {"vocab_size": made.get_vocab_size(), "eos_token_id": 2}, kind)


def word_piece() -> Tokenizer:
    """BERT's: a line end is a space, and a space is lost."""
    made = Tokenizer(models.WordPiece(unk_token="<unk>"))
    made.normalizer, made.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(vocab_size=200, special_tokens=SPECIAL, show_progress=False)
    made.train_from_iterator(LINES * 3, trainer)
    made.decoder = decoders.WordPiece()
    return made
