"""What is asked of an editor: facts' sentences, alone and behind random texts, and the tokens to write each fact at.

The requests of all lanes are run as one packed batch.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from atlas.base.text import CHARACTERS, Characters, Text
from atlas.errors import AtlasError
from atlas.pool.facts import Fact
from atlas.study.editor_settings import EditSite
from atlas.ttt.engine.lines import Batch, Line, batch, line

ESSENCE = "{} is a"  # the prompt whose continuation an edit should leave alone (Meng et al. 2022, section 3.1)
TOKENS_PER_PASS = {"cpu": 4096, "cuda": 1 << 17}  # a processor's caches hold the activations; a GPU wants more


Context = np.ndarray | str
"""What stands in front of a sentence: tokens of a line of its own, or what the sentence's line begins with."""


@dataclass(frozen=True)
class Request:
    """One fact to write."""

    lines: tuple[Line, ...]  # the sentence as taught, then behind each of the random texts
    places: np.ndarray  # int64, (lines, keys): the tokens of each line whose keys the fact is written to
    essences: tuple[Line, ...]  # the subject's essence prompt; none where the site has no place in it
    essence_places: np.ndarray  # int64, (keys,): the same tokens in the essence prompt
    left_alone: np.ndarray  # int64, (n,): tokens of the essence prompt whose predictions are to stay

    @property
    def all_lines(self) -> tuple[Line, ...]:
        """What a pass has to run: sentences, then essence prompts."""
        return (*self.lines, *self.essences)

    @property
    def keys(self) -> int:
        """How many keys the fact is written to."""
        return int(self.places.shape[1])

    @property
    def tokens(self) -> int:
        """How many tokens a pass over all lines has."""
        return sum(item.predicted for item in self.all_lines)


def request(
    fact: Fact,
    site: EditSite,
    contexts: Sequence[Context],
    origin: str,
    text: Text = CHARACTERS,
    room: int | None = None,
) -> Request:
    """The request for a fact.

    Args:
        fact: what to write.
        site: where to write it.
        contexts: the random texts.
        origin: the pool's name, for errors.
        text: how the model reads.
        room: its context, in tokens; None where no sentence comes near.

    Raises AtlasError where the site is in the subject and the fact has none, or it cannot be taught, see ``line``.
    """
    named = f"{origin}: fact {fact.fact_id}"
    if site in ("subject", "subject_last", "subject_after") and fact.subject_end is None:
        raise AtlasError(
            f"{named} has no subject, which an editor with site {site!r} needs; add the column 'subject' to the pool, "
            "or choose site answer or prompt_last"
        )
    alone = line(fact.prompt, fact.answer, named, text)
    lines, places = [alone], [_places(site, fact, "", alone, text)]
    for context in contexts:
        if isinstance(context, str):
            lines.append(line(f"{context}{fact.prompt}", fact.answer, named, text))
            places.append(_places(site, fact, context, lines[-1], text))
        else:  # line end, text, line end, sentence
            ahead = np.concatenate([alone.tokens[:1], context])
            lines.append(Line(np.concatenate([ahead, alone.tokens]), len(ahead) + alone.answer))
            places.append(len(ahead) + places[0])
    if room is not None and (most := max(item.predicted for item in lines)) > room:
        raise AtlasError(
            f"{named}: {most} tokens with the random texts of editing.contexts, expected at most {room}, the base's "
            "context; shorten the prompt or these texts"
        )
    if site == "answer" or fact.subject is None:  # nothing of the site is in an essence prompt, or there is none
        return Request(tuple(lines), np.stack(places), (), np.arange(0), np.arange(0))
    subject = fact.subject[0].upper() + fact.subject[1:]  # some letters become two
    asked = replace(fact, prompt=ESSENCE.format(subject), subject=subject, subject_start=0)
    end = np.array([text.start], text.dtype)
    tokens = np.concatenate([end, text.encode(asked.prompt, named), end])
    essence = Line(tokens, answer=len(tokens))  # all of the prompt is read: a line does not read its last token
    here = _places(site, asked, "", essence, text)
    further = np.arange(here.min(), essence.predicted) if isinstance(text, Characters) else np.unique(here)
    return Request(tuple(lines), np.stack(places), (essence,), here, further)


def _places(site: EditSite, fact: Fact, ahead: str, item: Line, text: Text) -> np.ndarray:
    """The tokens at a site in a line that begins with ``ahead`` and goes on with a fact's prompt."""
    if site == "answer":  # what predicts the answer and its line end
        return np.arange(item.answer - 1, item.predicted)
    if site == "prompt_last":
        return np.array([text.span(ahead + fact.prompt, 0, len(ahead + fact.prompt))[1]])
    start, end = fact.subject_start or 0, fact.subject_end or 0
    if site == "subject":  # where its tokens end, which may be others behind a text, but are as many
        owners = [text.span(fact.prompt, at, at + 1)[1] for at in range(start, end)]
        ends = [start + at for at, owner in enumerate(owners) if owner not in owners[at + 1 :]]
        return np.array([text.span(ahead + fact.prompt, len(ahead) + at, len(ahead) + at + 1)[1] for at in ends])
    _, last = text.span(ahead + fact.prompt, len(ahead) + start, len(ahead) + end)
    return np.array([last if site == "subject_last" else min(last + 1, item.answer - 1)])


@dataclass(frozen=True)
class RequestBatch:
    """A batch of requests, lane after lane. A request has keys, and each key a token in each of the request's lines.

    Tensors are int64 but for ``essence``, which is bool.
    """

    lines: Batch  # all lines of all requests; a request's essence prompt is the last of its lines
    facts: int  # how many requests there are
    keys: int
    lane_keys: tuple[int, ...]  # keys of each lane
    lane_of_fact: Tensor  # (facts,)
    fact_of_key: Tensor  # (keys,)
    fact_of_line: Tensor  # (lines,)
    essence: Tensor  # (lines,): which lines are essence prompts
    read: Tensor  # (reads,): the keys' tokens in sentences
    key_of_read: Tensor  # (reads,): the key of each
    alone: Tensor  # (keys,): each key's token in the sentence without a text in front
    written: Tensor  # (writes,): ``read`` and the keys' tokens in essence prompts
    key_of_written: Tensor  # (writes,): the key of each
    continued: Tensor  # (n,): tokens of essence prompts whose predictions are to stay
    fact_of_continued: Tensor  # (n,): the fact of each

    @classmethod
    def of(cls, lanes: Sequence[Sequence[Request]], device: torch.device) -> RequestBatch:
        """Batch the requests of every lane; a lane may have none, but not all of them."""
        asked = [item for lane in lanes for item in lane]
        lines = batch([[one for item in lane for one in item.all_lines] for lane in lanes], device)
        starts = (torch.cumsum(lines.lengths, 0) - lines.lengths).cpu().numpy()
        line_count = key_count = 0
        found: defaultdict[str, list[np.ndarray]] = defaultdict(list)
        for fact, item in enumerate(asked):
            first = starts[line_count : line_count + len(item.all_lines)]  # first tokens of its lines
            keys = np.arange(key_count, key_count + item.keys)
            line_count, key_count = line_count + len(first), key_count + len(keys)
            sentences, essences = np.split(first, [len(item.lines)])
            found["fact_of_key"].append(np.full(len(keys), fact))
            found["fact_of_line"].append(np.full(len(first), fact))
            found["essence"].append(np.arange(len(first)) >= len(sentences))
            found["read"].append((sentences[:, None] + item.places).ravel())
            found["key_of_read"].append(np.tile(keys, len(sentences)))
            found["alone"].append(sentences[0] + item.places[0])
            for start in essences:
                found["also_written"].append(start + item.essence_places)
                found["key_of_also_written"].append(keys)
                found["continued"].append(start + item.left_alone)
                found["fact_of_continued"].append(np.full(len(item.left_alone), fact))

        def joined(*names: str) -> Tensor:
            parts = [part for name in names for part in found[name]]
            return torch.from_numpy(np.concatenate([np.arange(0), *parts])).to(device)

        return cls(
            lines=lines,
            facts=len(asked),
            keys=key_count,
            lane_keys=tuple(sum(item.keys for item in lane) for lane in lanes),
            lane_of_fact=torch.arange(len(lanes)).repeat_interleave(torch.tensor([*map(len, lanes)])).to(device),
            fact_of_key=joined("fact_of_key"),
            fact_of_line=joined("fact_of_line"),
            essence=joined("essence").bool(),
            read=joined("read"),
            key_of_read=joined("key_of_read"),
            alone=joined("alone"),
            written=joined("read", "also_written"),
            key_of_written=joined("key_of_read", "key_of_also_written"),
            continued=joined("continued"),
            fact_of_continued=joined("fact_of_continued"),
        )

    def mean_of_keys(self, rows: Tensor, halves: bool = False) -> Tensor:
        """Means over each key's tokens in sentences, (keys, width), from rows of all tokens, (tokens, width).

        All sentences count alike, as in ROME; with ``halves`` the sentence alone counts one half, and all those behind
        random texts together the other, as MEMIT's published code groups them.
        """
        sums = rows.new_zeros(self.keys, rows.shape[1]).index_add_(0, self.key_of_read, rows[self.read])
        counts = torch.bincount(self.key_of_read, minlength=self.keys)[:, None]
        if not halves:
            return sums / counts
        alone = rows[self.alone]
        return torch.where(counts > 1, (alone + (sums - alone) / (counts - 1).clamp(min=1)) / 2, alone)

    def mean_of_facts(self, values: Tensor, owners: Tensor) -> Tensor:
        """Means over what belongs to each fact, (facts,), from values and the facts they belong to; 0 where none do."""
        sums = values.new_zeros(self.facts).index_add(0, owners, values)
        return sums / torch.bincount(owners, minlength=self.facts).clamp(min=1)


def in_passes(lanes: Sequence[Sequence[Request]], device: torch.device) -> Iterator[list[list[Request]]]:
    """Cut the requests of all lanes into passes that fill the processor, in order: lane after lane."""
    part: list[list[Request]] = [[] for _ in lanes]
    size = 0
    for index, lane in enumerate(lanes):
        for item in lane:
            if size and size + item.tokens > TOKENS_PER_PASS[device.type]:
                yield part
                part, size = [[] for _ in lanes], 0
            part[index].append(item)
            size += item.tokens
    if size:
        yield part


def by_lane(rows: Tensor, batches: Sequence[RequestBatch]) -> tuple[Tensor, ...]:
    """The rows of each lane's keys, from the rows of all batches' keys behind one another."""
    return torch.split(rows, [sum(sizes) for sizes in zip(*(one.lane_keys for one in batches), strict=True)])
