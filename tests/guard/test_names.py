"""Many rows with one cause say it first, with what mends it."""

import pytest
import torch
from safetensors.torch import load_file, save_file

import atlas
from atlas.guard.formats import WHOLE
from atlas.guard.names import cause, renamed
from tests.guard.foreign_models import saved
from tests.guard.test_verification import Net

NAMES = [f"model.layers.{at}.{part}.weight" for at in range(3) for part in ("attn", "mlp")] + ["model.norm.weight"]
WRAPPERS = ["_orig_mod.", "module.", "model.", "_fsdp_wrapped_module.", "base_model.model.", "module._orig_mod."]


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_a_wrapper_on_either_side(wrapper):
    wrapped = [wrapper + name for name in NAMES]
    said = cause(NAMES, wrapped)
    assert said == f'one cause: every name in the file begins with `{wrapper}`: pass rename={{"{wrapper}": ""}}'
    assert [*renamed(wrapped, {wrapper: ""}, "").values()] == NAMES
    said = cause(wrapped, NAMES)
    assert said == f'one cause: every name in the model begins with `{wrapper}`: pass rename={{"": "{wrapper}"}}'
    assert [*renamed(NAMES, {"": wrapper}, "").values()] == wrapped


@pytest.mark.parametrize("step", ["_fsdp_wrapped_module", "_orig_mod", "_checkpoint_wrapped_module"])
def test_a_wrapper_inside_the_names(step):
    wrapped = [name.replace(".attn", f".{step}.attn") for name in NAMES]
    missing, unexpected = sorted({*NAMES} - {*wrapped}), sorted({*wrapped} - {*NAMES})
    said = cause(missing, unexpected, {*NAMES} & {*wrapped})
    rename = eval(said.partition("rename=")[2])
    assert [*renamed(wrapped, rename, "").values()] == NAMES
    assert said.startswith(f"one cause: 3 names in the file hold `{step}.`: pass rename=lambda name: ")


def test_two_wrappers_at_once_and_another_beginning():
    wrapped = [f"_fsdp_wrapped_module.{name}".replace(".mlp", "._orig_mod.mlp") for name in NAMES]
    assert [*renamed(wrapped, eval(cause(NAMES, wrapped).partition("rename=")[2]), "").values()] == NAMES
    other = [name.replace("model.", "transformer.") for name in NAMES]
    assert cause(NAMES, other).endswith('pass rename={"transformer.": "model."}')


def test_layers_that_only_one_of_them_has():
    fewer = [name for name in NAMES if "layers.2" not in name]
    more = [name for name in NAMES if name not in fewer]
    assert "the model has a layer 2, the file none after layer 1" in cause(more, [], fewer)
    assert "the file has a layer 2, the model none after layer 1" in cause([], more, fewer)
    assert cause(["model.layers.0.attn.weight", "model.layers.2.mlp.weight"], [], fewer) == ""


def test_names_that_have_nothing_in_common_have_no_one_cause():
    assert cause(["a.weight", "b.weight"], ["c.x", "d.y"]) == ""
    assert cause(NAMES[:1], ["module." + NAMES[0]]) == ""  # a single row
    assert cause([], NAMES, ["other.weight"]) == ""


def test_it_comes_first_in_the_error_and_before_the_table(tmp_path, monkeypatch, capsys):
    folder = saved(tmp_path, "llama", trained=True)
    save_file({f"_orig_mod.{name}": tensor for name, tensor in load_file(folder / WHOLE).items()}, folder / WHOLE)
    monkeypatch.setattr("sys.argv", ["atlas", "verify", str(folder)])
    with pytest.raises(SystemExit):
        atlas_main()
    shown = capsys.readouterr().out
    first = shown.index("one cause: every name in the file begins with `_orig_mod.`")
    assert first < shown.index("Failed")
    assert shown.count("one cause") == 1


def atlas_main():
    from atlas import cli

    cli.main()


def test_one_dtype_no_values_and_nothing_loaded(tmp_path):
    torch.manual_seed(0)
    net, path = Net(), tmp_path / "net.safetensors"
    save_file(net.state_dict(), path)
    for model, said in (
        (Net().bfloat16(), r"dtypes \(one cause: 8 of 8 tensors, dtype float32, expected bfloat16: pass cast=True"),
        (Net().to("meta"), r"names \(one cause: 8 of 8 tensors, has no values in memory"),
        (Net(), r"loaded \(one cause: no matrix is the file's: the model was not loaded from it"),
    ):
        with pytest.raises(atlas.GuardError, match=said):
            atlas.verify(model, path, trained=False)
