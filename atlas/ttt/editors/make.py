"""Make the editor that an arm's settings ask for."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from atlas.base.language import LanguageModel
from atlas.study.editor_settings import AlphaEdit, Editing, Memit, Rome, layers_of
from atlas.ttt.editors import memit, rome
from atlas.ttt.editors.contexts import write_contexts
from atlas.ttt.editors.editor import Editor, Style
from atlas.ttt.engine.full import Full


def make_editor(
    settings: Editing, model: LanguageModel, moments: Mapping[str, Tensor], lanes: int, base_seed: int, origin: str
) -> Editor:
    """Freeze a model, make the matrices that the settings name editable, and return what writes facts into them.

    Args:
        settings: the arm's, see ``atlas.study.editor_settings``.
        model: the base, on its device.
        moments: E[k k'] of the base's keys, see ``covariance.read_moments``.
        lanes: how many models are edited side by side.
        base_seed: draws the random texts.
        origin: the pool's name, for errors.

    Raises AtlasError where a layer does not exist.
    """
    contexts = write_contexts(model, settings.contexts, base_seed)
    style = Style(settings.site, contexts, settings.value, origin)
    edits = Full.attach(model, ["down"], layers_of(settings))
    match settings:
        case Rome():
            return rome.Rome(edits, lanes, style, moments, one_key=settings.method == "r_rome")
        case Memit():
            return memit.Memit(edits, lanes, style, moments, settings.covariance_weight, settings.look_back)
        case AlphaEdit():
            return memit.AlphaEdit(edits, lanes, style, moments, settings.null_share, settings.ridge)
