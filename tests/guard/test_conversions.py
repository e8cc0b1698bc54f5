"""``atlas.verify`` on models of `transformers`: what it renames, joins and computes on loading is no fault."""

import shutil

import pytest
import torch
import transformers
from safetensors.torch import load_file
from torch import nn
from transformers import AutoModel, AutoModelForSequenceClassification, BertModel, LlamaForCausalLM, T5EncoderModel

import atlas
from atlas.errors import AtlasError
from atlas.guard import conversions
from atlas.guard.formats import WHOLE
from tests.guard.hub_models import CONFIGS, OLDER, auto, edit, model_of, older, put
from tests.guard.test_verification import failed

PLACES = ["model.embed_tokens", "model.layers.0", "model.norm", "model.rotary_emb", "lm_head"]
GATE = "model.layers.1.block_sparse_moe.experts.{}.w{}.weight"


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """The folder of a model by its name, made when it is first asked for; to be read only."""
    made = {}

    def folder(name):
        if name not in made:
            made[name] = tmp_path_factory.mktemp("model")
            model_of(name).save_pretrained(made[name])
        return made[name]

    return folder


def load(name, folder, **options):
    return auto(name).from_pretrained(folder, **options)


def verified(model, folder, **options):
    """The checks of an honest model, of which those that were not judged are empty."""
    certificate = atlas.verify(model, folder, trained=False, **options)
    checks = [check for check in certificate.checks if check.name != "wiring"]  # takes a text
    return [check.detail for check in checks if check.detail.startswith("not judged")]


@pytest.mark.parametrize("name", CONFIGS)
def test_what_save_pretrained_wrote_passes_and_is_judged_whole(folders, name):
    assert verified(load(name, folders(name)), folders(name)) == []


@pytest.mark.parametrize("name", OLDER)
def test_older_names_and_the_buffers_of_older_files_pass(tmp_path, name):
    model_of(name).save_pretrained(tmp_path)
    put(tmp_path, older(name, load_file(tmp_path / WHOLE)))
    assert verified(load(name, tmp_path), tmp_path) == []


@pytest.mark.parametrize("name", OLDER)
def test_a_matrix_that_an_older_file_lacks_is_named(tmp_path, name):
    """It stays as it was initialised, without a word of the loader that anybody reads."""
    model_of(name).save_pretrained(tmp_path)
    tensors = older(name, load_file(tmp_path / WHOLE))
    last = sorted(key for key, tensor in tensors.items() if tensor.ndim == 2 and "1." in key)[-1]
    put(tmp_path, {key: tensor for key, tensor in tensors.items() if key != last})
    model = load(name, tmp_path)
    found = failed(model, tmp_path, trained=False)
    assert found.keys() == {"names"}
    assert {key.rpartition(".")[0].rpartition(".")[2] for key in found["names"]} == {last.split(".")[-2]}


def test_a_head_under_its_older_name_is_compared(tmp_path):
    model_of("gpt_neox").save_pretrained(tmp_path)
    put(tmp_path, older("gpt_neox", load_file(tmp_path / WHOLE)))
    assert "embed_out.weight" in load_file(tmp_path / WHOLE)
    model = load("gpt_neox", tmp_path)
    with torch.no_grad():
        model.lm_head.weight[0, 0] += 1
    assert failed(model, tmp_path, trained=False) == {"loaded": {"lm_head.weight"}}
    with torch.no_grad():
        model.lm_head.weight[0, 0] -= 1
    edit(tmp_path, **{"lm_head.weight": load_file(tmp_path / WHOLE)["embed_out.weight"].clone()})
    assert verified(load("gpt_neox", tmp_path), tmp_path) == []  # twice the same
    edit(tmp_path, **{"lm_head.weight": torch.zeros(40, 32)})
    assert failed(model, tmp_path, trained=False)["names"] == {"lm_head.weight"}  # two become one


def test_experts_are_compared_after_they_were_joined(folders):
    model = load("mixtral", folders("mixtral"))
    with torch.no_grad():
        model.model.layers[1].mlp.experts.gate_up_proj[2, 0, 0] += 1
    assert failed(model, folders("mixtral"), trained=False) == {"loaded": {"model.layers.1.mlp.experts.gate_up_proj"}}
    with torch.no_grad():
        experts = model.model.layers[0].mlp.experts.down_proj
        experts.copy_(experts.flip(0))
    assert "model.layers.0.mlp.experts.down_proj" in failed(model, folders("mixtral"), trained=False)["loaded"]


@pytest.mark.parametrize(
    ("lost", "check"),
    [
        ([GATE.format(1, 1)], "names"),  # one matrix of an expert: they cannot be joined
        ([GATE.format(1, part) for part in (1, 2, 3)], "shapes"),  # a whole expert
        ([GATE.format(expert, 2) for expert in range(3)], "names"),  # all of one kind
    ],
    ids=["a matrix", "an expert", "a kind"],
)
def test_experts_that_are_lost(tmp_path, lost, check):
    model_of("mixtral").save_pretrained(tmp_path)
    edit(tmp_path, **dict.fromkeys(lost))
    found = failed(model_of("mixtral"), tmp_path, trained=False)
    assert found.keys() == {check}
    assert found[check] <= {f"model.layers.1.mlp.experts.{part}_proj" for part in ("gate_up", "down")}


def test_a_body_passes_without_the_head_of_its_file_and_a_fresh_head_does_not(folders, tmp_path):
    llama = folders("llama")
    body = AutoModel.from_pretrained(llama)
    assert verified(body, llama) == []
    assert verified(AutoModel.from_pretrained(folders("mixtral")), folders("mixtral")) == []
    assert verified(BertModel.from_pretrained(folders("bert"), add_pooling_layer=False), folders("bert")) == []
    assert failed(AutoModel.from_pretrained(folders("bert")), folders("bert"), trained=False) == {
        "names": {"pooler.dense.weight", "pooler.dense.bias"}
    }
    assert verified(T5EncoderModel.from_pretrained(folders("t5")), folders("t5")) == []
    body.save_pretrained(tmp_path)
    assert failed(load("llama", tmp_path), tmp_path, trained=False) == {"names": {"lm_head.weight"}}
    scored = AutoModelForSequenceClassification.from_pretrained(llama, num_labels=3)
    assert failed(scored, llama, trained=False)["names"] == {"lm_head.weight", "score.weight"}


def test_a_body_that_lost_a_layer_of_its_file_is_no_body_without_head(folders):
    body = AutoModel.from_pretrained(folders("llama"), num_hidden_layers=1)
    found = failed(body, folders("llama"), trained=False)
    assert all("layers.1." in name for name in found["names"])
    assert len(found["names"]) == 9


def compiled(module):
    return torch.compile(module, backend="eager")  # which needs no compiler


@pytest.mark.parametrize("wrapped", [compiled, nn.DataParallel])
def test_wrapped_models_pass_with_the_renaming_that_the_error_names(folders, wrapped):
    for name in ("mixtral", "gpt2"):
        model = wrapped(load(name, folders(name)))
        with pytest.raises(atlas.GuardError, match="pass rename=") as caught:
            atlas.verify(model, folders(name), trained=False)
        remedy = str(caught.value).partition("rename=")[2].partition(";")[0]
        assert verified(model, folders(name), rename=eval(remedy)) == []  # as it stands there


def test_layers_that_are_compiled_in_place_pass_likewise(folders):
    model = load("llama", folders("llama"))
    model.model.layers = nn.ModuleList(compiled(layer) for layer in model.model.layers)
    with pytest.raises(atlas.GuardError, match=r"18 names in the model hold `_orig_mod\.`: pass rename=") as caught:
        atlas.verify(model, folders("llama"), trained=False)
    remedy, _, back = str(caught.value).partition("rename=")[2].partition(";")[0].partition(", with back = ")
    names = {"model": model, "back": eval(back, {"model": model})}
    assert verified(model, folders("llama"), rename=eval(remedy, names)) == []


def test_a_model_cast_or_prepared_for_training_passes(folders):
    llama = folders("llama")
    assert verified(load("llama", llama, dtype=torch.bfloat16), llama, cast=True) == []
    assert verified(load("llama", llama).half(), llama, cast=True) == []
    model = load("llama", llama, attn_implementation="eager").train()
    model.activation_checkpointing_enable()
    model.config.use_cache = False
    model.config.pad_token_id = 3
    assert verified(model, llama) == []
    plain = LlamaForCausalLM(transformers.AutoConfig.from_pretrained(llama))
    plain.load_state_dict(load_file(llama / WHOLE))
    assert verified(plain, llama) == []


def test_conversions_that_cannot_be_followed_are_not_judged_but_missing_names_are(folders, tmp_path, monkeypatch):
    model = load("mixtral", folders("mixtral"))

    def other_rules(*_):
        raise TypeError("takes other arguments")

    monkeypatch.setattr(conversions, "_rules", other_rules)
    (said,) = verified(model, folders("mixtral"))
    assert "model.layers.0.mlp.experts.down_proj" in said
    assert "takes other arguments" in said
    model.lm_head.weight.data[0, 0] += 1
    assert failed(model, folders("mixtral"), trained=False) == {"loaded": {"lm_head.weight"}}
    llama = load("llama", folders("llama"))
    model_of("llama").save_pretrained(tmp_path)
    edit(tmp_path, **{"model.norm.weight": None})
    assert failed(llama, tmp_path, trained=False) == {"names": {"model.norm.weight"}}


def test_what_is_held_in_codes_is_not_judged(folders):
    """As a library for quantisation leaves a linear layer: codes, their scale beside them, and a note in the config."""
    model = load("llama", folders("llama"))
    linear = model.model.layers[0].mlp.up_proj
    linear.weight = nn.Parameter(torch.zeros(48, 16, dtype=torch.uint8), requires_grad=False)
    linear.register_buffer("scale", torch.ones(48))
    assert "dtypes" in failed(model, folders("llama"), trained=False)
    model.config.quantization_config = {"quant_method": "somebody's"}
    (said,) = verified(model, folders("llama"))
    assert said.startswith("not judged: model.layers.0.mlp.up_proj.scale, model.layers.0.mlp.up_proj.weight: the model")
    model.model.norm.weight.data[0] += 1
    assert failed(model, folders("llama"), trained=False) == {"loaded": {"model.norm.weight"}}


def test_ties_are_named_as_the_model_has_them(folders):
    with pytest.raises(AtlasError, match=r"tied: the model has no tensor 'lm_haed\.weight'"):
        atlas.verify(load("llama", folders("llama")), folders("llama"), tied={"lm_haed.weight": "lm_head.weight"})


def test_transformers_4_names_no_partner_of_a_tie_and_has_no_rules(folders, tmp_path, monkeypatch):
    model = load("qwen2", folders("qwen2"))
    model.all_tied_weights_keys, model._tied_weights_keys = None, ["lm_head.weight"]
    assert verified(model, folders("qwen2")) == []
    model.lm_head.weight = nn.Parameter(model.lm_head.weight.detach().clone())
    assert failed(model, folders("qwen2"), trained=False) == {"names": {"lm_head.weight"}}
    monkeypatch.setattr(conversions, "_rules", lambda _: ([], [], None, None))
    for name in ("bert", "gpt2", "bloom"):
        model_of(name).save_pretrained(tmp_path)
        put(tmp_path, older(name, load_file(tmp_path / WHOLE)))
        assert verified(load(name, tmp_path), tmp_path) == []


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_what_accelerate_holds_on_disk_is_compared_too(tmp_path):
    for name in ("llama", "qwen2"):
        model_of(name).save_pretrained(tmp_path)
        places = {"model.layers.1": "disk", **dict.fromkeys(PLACES, "cpu")}
        model = load(name, tmp_path, device_map=places, offload_folder=tmp_path / "offloaded")
        assert model.get_parameter("model.layers.1.mlp.up_proj.weight").is_meta
        assert verified(model, tmp_path) == []
        details = [check.detail for check in atlas.verify(model, tmp_path).checks]
        assert "not judged: accelerate holds part of the model elsewhere" in details
        other = shutil.copytree(tmp_path, tmp_path / name, ignore=lambda *_: {"offloaded", "llama"})
        edit(other, **{"model.layers.1.mlp.up_proj.weight": torch.ones(48, 32)})
        assert failed(model, other) == {"loaded": {"model.layers.1.mlp.up_proj.weight"}}
