"""The delta rule: all facts of a session into one matrix by the smallest change, whatever else the matrix is for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from pydantic import Field

from atlas.study.editor_settings import LayeredSettings
from atlas.ttt.editors.editor import Editor, EditorState
from atlas.ttt.editors.requests import RequestBatch, by_lane
from atlas.ttt.editors.value_search import Found, find_values


class DeltaSettings(LayeredSettings):
    """What `editing:` of an arm may say: the keys that all editors have, and one more."""

    layers: list[int] = Field([1], min_length=1, max_length=1, description="the layer that is edited")
    ridge: float = Field(0.1, gt=0, description="how much a large change costs")


class DeltaRule(Editor):
    """MEMIT without a corpus to protect: solve K D = R by ridge regression, K the facts' keys, R what is missing."""

    settings: DeltaSettings
    settings_class: ClassVar[type[LayeredSettings]] = DeltaSettings

    def write(self, batches: Sequence[RequestBatch]) -> tuple[EditorState, list[Found]]:
        theta = self.state.theta.clone()  # (lanes, parameters)
        found, keys = [], []
        for batch in batches:
            seen = self.read(theta, batch)
            lengths = seen.hidden[batch.alone].norm(dim=1)  # (keys,)
            found.append(find_values(self.tail, batch, seen.hidden, lengths, self.settings.value))
            keys.append(batch.mean_of_keys(seen.keys[-1]))  # (keys, in)
        of_lanes = by_lane(torch.cat(keys), batches)
        missing = by_lane(torch.cat([one.delta for one in found]), batches)
        (updates,) = self.edits.updates(theta)  # a view into theta, (lanes, in, out)
        for lane, (k, r) in enumerate(zip(of_lanes, missing, strict=True)):  # (keys, in), (keys, out)
            gram = k @ k.T + self.settings.ridge * torch.eye(len(k), device=k.device)
            updates[lane] += k.T @ torch.linalg.solve(gram, r)
        return EditorState(theta, self.state.written), found
