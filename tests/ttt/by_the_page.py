"""A run done again from docs/conventions.md alone, with transformers and peft, in float64.

It knows no more of Atlas than its files.
"""

import hashlib
import json
import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import peft
import pyarrow.parquet as pq
import torch
from safetensors.torch import load_file
from transformers import OPTConfig, OPTForCausalLM

MODULES = {"q": "q_proj", "k": "k_proj", "v": "v_proj", "o": "out_proj", "up": "fc1", "down": "fc2"}
END = 0


def draws(*key: int | str) -> np.random.Generator:
    text = "/".join(f"int:{part}" if isinstance(part, int) else f"str:{part}" for part in key)
    return np.random.default_rng(int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], "big"))


def tokens_of(text: str) -> list[int]:
    return [0 if symbol == "\n" else ord(symbol) - 31 for symbol in text]


def text_of(tokens: list[int]) -> str:
    return "".join("\n" if token == END else chr(token + 31) for token in tokens)


@dataclass(frozen=True)
class Line:
    """``tokens`` with the leading line end; the last ``counted`` of them count in the loss."""

    tokens: list[int]
    counted: int


@dataclass
class Step:
    """What a step had: sentences, texts of its windows, and the loss of its facts."""

    facts: list[str]
    windows: list[str]
    loss: float


@dataclass
class Seed:
    """One seed of a run: ``spec`` is what the study says of it, ``folder`` has its inputs."""

    spec: dict[str, Any]
    folder: Path
    seed: int
    steps: list[Step] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.recipe = self.spec["recipe"]
        self.pool = {row["fact_id"]: row for row in pq.read_table(self.folder / "pool.parquet").to_pylist()}
        rows = pq.read_table(self.folder / f"{self.seed}.parquet").to_pylist()
        self.stream = [row["fact_id"] for row in rows]
        manifest = json.loads((self.folder / "base.json").read_text())["config"]
        corpus = (self.folder / "corpus.txt").read_text()
        cut = len(corpus) - round(manifest["validation"] * len(corpus))
        self.text = tokens_of(corpus[:cut])
        self.model = self._adapted(manifest["model"])
        self.theta = [weight for name, weight in self.model.named_parameters() if "lora_" in name]
        self.cost = np.full(len(self.stream), np.inf)
        self.tick = np.zeros(len(self.stream), int)
        self.optimisers: dict[str, torch.optim.Optimizer] = {}

    def _adapted(self, shape: dict[str, int]) -> Any:
        config = OPTConfig(
            vocab_size=96,
            hidden_size=shape["width"],
            word_embed_proj_dim=shape["width"],
            num_hidden_layers=shape["layers"],
            num_attention_heads=shape["heads"],
            ffn_dim=shape["ffn"],
            max_position_embeddings=shape["context"],
            dropout=0.0,
        )
        base = OPTForCausalLM(config)
        base.load_state_dict(load_file(self.folder / "base.safetensors"), strict=False)
        base.tie_weights()
        (rank,) = {*self.spec["ranks"]}
        names = [MODULES[role] for role in self.spec["targets"]]
        lora = peft.LoraConfig(r=rank, lora_alpha=self.spec["alpha"], target_modules=names, lora_dropout=0.0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # PEFT asks transformers by an old name
            model = peft.get_peft_model(base.double(), lora, autocast_adapter_dtype=False).eval()
        for layer, block in enumerate(base.model.decoder.layers):
            for role in self.spec["targets"]:
                place = getattr(block.self_attn if role in "qkvo" else block, MODULES[role])
                bound = 1 / math.sqrt(place.in_features)
                fresh = draws(self.spec["base_seed"], self.seed, "lora_a", layer, role).uniform(
                    -bound, bound, size=(rank, place.in_features)
                )
                place.lora_A["default"].weight.data.copy_(torch.from_numpy(fresh.astype(np.float32)))
                place.lora_B["default"].weight.data.zero_()
        return model

    def teach(self, session: int) -> None:
        """One session, counted from 1."""
        size, unnoted = self.spec["facts_per_session"], set[int]()
        stored, known = (session - 1) * size, session * size
        for name, phase in self.recipe["phases"].items():
            rehearsal = phase["rehearsal"] or {}
            items = self._phase(name, phase, session, stored, known)
            if not rehearsal.get("every"):
                unnoted |= items
        if any(phase["rehearsal"] for phase in self.recipe["phases"].values()):
            self._look(sorted(unnoted), known)

    def _phase(self, name: str, phase: dict[str, Any], session: int, stored: int, known: int) -> set[int]:
        start = [weight.detach().clone() for weight in self.theta]
        key = self.spec["base_seed"], self.seed, session
        order, text = draws(*key, f"{name} order"), draws(*key, f"{name} text")
        new, every = [*range(stored, known)], (phase["rehearsal"] or {}).get("every")
        items = [*new, *self._rehearsed(phase, stored)]
        most, batch = phase["steps"], phase["batch"] or len(items)
        if phase["epochs"]:
            most = phase["epochs"] * -(-len(items) // batch)
        if early := phase["early"]:
            most = max(most, min(early["steps"], math.ceil(early["shown"] / known)))
        if phase["optimiser"]["memory"] == "phase" or name not in self.optimisers:
            self.optimisers[name] = torch.optim.Adam(self.theta, betas=(0.9, 0.999))
        epochs = self._batches(items, batch, order)
        for step in range(most):
            if every and step and step % every == 0:
                items = [*new, *self._rehearsed(phase, stored)]
                epochs = self._batches(items, batch, order)
            chosen = next(epochs)
            windows = []
            if mix := phase["text"]:
                starts = text.integers(0, len(self.text) - mix["characters"], mix["windows"])
                windows = [self.text[at : at + mix["characters"] + 1] for at in starts]
            share = 1 - step / most if phase["schedule"] == "linear" else 1.0
            self._step(phase, self.optimisers[name], phase["lr"] * share, chosen, windows, start)
        with torch.no_grad():
            for weight, was in zip(self.theta, start, strict=True):
                weight.copy_(was + phase["blend"] * (weight - was))
        return {*items}

    @staticmethod
    def _batches(items: list[int], size: int, order: np.random.Generator) -> Iterator[list[int]]:
        while True:
            shuffled = items if size >= len(items) else [items[i] for i in order.permutation(len(items))]
            yield from (shuffled[at : at + size] for at in range(0, len(items), size))

    def _rehearsed(self, phase: dict[str, Any], stored: int) -> list[int]:
        if (rules := phase["rehearsal"]) is None:
            return []
        if rules["choice"] == "due":
            age = self.tick.max() + 1 - self.tick
            return sorted(range(stored), key=lambda i: -self.cost[i] * age[i])[: rules["facts"]]
        by_tick = sorted(range(stored), key=lambda i: self.tick[i])
        unseen = by_tick[: round(rules["unseen"] * min(rules["facts"], stored))]
        rest = [i for i in range(stored) if i not in unseen]
        weakest = sorted(rest, key=lambda i: -self.cost[i])
        return [*weakest[: rules["facts"] - len(unseen)], *unseen]

    def _step(
        self,
        phase: dict[str, Any],
        optimiser: torch.optim.Optimizer,
        rate: float,
        chosen: list[int],
        windows: list[list[int]],
        start: list[torch.Tensor],
    ) -> None:
        optimiser.zero_grad()
        lines = [self._line(self.stream[i]) for i in chosen]
        costs = self._costs([*lines, *(Line(window, len(window) - 1) for window in windows)])
        loss = torch.cat(costs[: len(lines)]).mean()
        facts = [text_of(line.tokens[1:]) for line in lines]
        self.steps.append(Step(facts, [text_of(window) for window in windows], loss.item()))
        if phase["rehearsal"] and phase["rehearsal"]["every"]:
            self._note(chosen, [cost.detach() for cost in costs[: len(lines)]])
        if windows:
            text = torch.cat(costs[len(lines) :])
            if phase["text"]["toward"] == "base":
                text = self._away_from_base(windows)
            loss = loss + phase["text"]["weight"] * text.mean()
        loss.backward()
        with torch.no_grad():
            if anchor := phase["anchor"]:
                for weight, was in zip(self.theta, start, strict=True):
                    weight.grad += 2 * anchor["weight"] * (weight - was)
            norm = math.sqrt(sum(float(weight.grad.square().sum()) for weight in self.theta))
            for weight in self.theta:
                weight.grad *= min(1.0, self.recipe["clip"] / max(norm, 1e-12))
        optimiser.param_groups[0]["lr"] = rate
        optimiser.step()

    def _away_from_base(self, windows: list[list[int]]) -> torch.Tensor:
        """Kullback-Leibler divergence of the model's predictions from the base's, nats, by token."""
        rows = torch.tensor(windows)[:, :-1]
        ours = self.model(input_ids=rows).logits.log_softmax(-1)
        with torch.no_grad(), self.model.disable_adapter():
            base = self.model(input_ids=rows).logits.log_softmax(-1)
        divergence: torch.Tensor = (base.exp() * (base - ours)).sum(-1)
        return divergence

    def _look(self, trained: list[int], known: int) -> None:
        """Measure what was trained without being noted, and others by the budget."""
        rest = [i for i in range(known) if i not in trained]
        more = len(rest) if self.recipe["budget"] is None else min(self.recipe["budget"], len(rest))
        weakest = sorted(rest, key=lambda i: -self.cost[i])[: more // 2]
        oldest = sorted((i for i in rest if i not in weakest), key=lambda i: self.tick[i])
        asked = [*trained, *weakest, *oldest[: more - len(weakest)]]
        if asked:
            with torch.no_grad():
                self._note(asked, self._costs([self._line(self.stream[i]) for i in asked]))

    def _note(self, items: list[int], costs: list[torch.Tensor]) -> None:
        for i, cost in zip(items, costs, strict=True):
            answer = cost[-len(self.pool[self.stream[i]]["answer"]) - 1 :]
            self.cost[i] = float(answer.max() if self.recipe["weakness"] == "worst" else cost.mean())
        self.tick[items] = self.tick.max() + 1

    def _line(self, fact_id: str) -> Line:
        fact = self.pool[fact_id]
        tokens = tokens_of(f"\n{fact['prompt']} {fact['answer']}\n")
        return Line(tokens, len(fact["answer"]) + 1 if self.recipe["loss"] == "answer" else len(tokens) - 1)

    def _costs(self, lines: list[Line]) -> list[torch.Tensor]:
        """Nats of every token that counts, line by line."""
        longest = max(len(line.tokens) for line in lines)
        rows = torch.tensor([line.tokens + [END] * (longest - len(line.tokens)) for line in lines])
        logs = self.model(input_ids=rows[:, :-1]).logits.log_softmax(-1)
        nats = -logs.gather(2, rows[:, 1:, None])[:, :, 0]
        ends = [len(line.tokens) - 1 for line in lines]
        return [row[end - line.counted : end] for row, line, end in zip(nats, lines, ends, strict=True)]

    @torch.no_grad()
    def decoded(self, prompt: str, most: int) -> str:
        """What greedy decoding says behind a prompt, up to the line end or so many tokens."""
        tokens = tokens_of(f"\n{prompt} ")
        said: list[int] = []
        while len(said) < most and (not said or said[-1] != END):
            said.append(int(self.model(input_ids=torch.tensor([tokens + said])).logits[0, -1].argmax()))
        return text_of(said)

    def recalled(self, fact_id: str, form: int) -> bool:
        fact = self.pool[fact_id]
        right = [f"{answer}\n" for answer in (fact["answer"], *fact["aliases"])]
        return self.decoded([fact["prompt"], *fact["rephrases"]][form], max(map(len, right))) in right

    @torch.no_grad()
    def associated(self, fact_id: str, form: int, sessions: int) -> tuple[int, bool | None]:
        """How many alternatives there are after so many sessions, and whether the answer is likelier than all."""
        fact, taught = self.pool[fact_id], self.stream[: sessions * self.spec["facts_per_session"]]
        answers = {self.pool[other]["answer"] for other in taught if self.pool[other]["template"] == fact["template"]}
        others = sorted(answers - {fact["answer"], *fact["aliases"]})
        prompt = [fact["prompt"], *fact["rephrases"]][form]
        said = [Line(tokens_of(f"\n{prompt} {answer}\n"), len(answer) + 1) for answer in (fact["answer"], *others)]
        own, *rest = (float(cost.sum()) for cost in self._costs(said))
        return len(others), own < min(rest) if rest else None

    @torch.no_grad()
    def costs(self, fact_id: str, form: int) -> tuple[float, float]:
        """Mean cost of the sentence tokens, and of the answer tokens."""
        fact = self.pool[fact_id]
        tokens = tokens_of(f"\n{[fact['prompt'], *fact['rephrases']][form]} {fact['answer']}\n")
        (cost,) = self._costs([Line(tokens, len(tokens) - 1)])
        return float(cost.mean()), float(cost[-len(fact["answer"]) - 1 :].mean())

    def adapters(self) -> dict[str, np.ndarray]:
        """A and B by the names and shapes of adapters.safetensors."""
        found = {}
        for name, weight in self.model.named_parameters():
            if "lora_" in name:
                ours = name.removeprefix("base_model.model.").removesuffix(".default.weight")
                found[ours] = weight.detach().numpy().T
        return found
