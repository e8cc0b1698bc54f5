"""Adapters: their files against their config and base, and a model in memory, with them or merged, against both."""

import json
import shutil

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file

import atlas
from atlas.errors import AtlasError
from atlas.guard.adapters import ADAPTER_CONFIG, ADAPTER_WEIGHTS, inspect
from atlas.guard.formats import WHOLE
from tests.guard.hub_models import auto, model_of, older, put
from tests.guard.test_verification import failed

pytestmark = [  # what PEFT itself makes transformers say, and says of its own choices
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"),
    pytest.mark.filterwarnings("ignore:fan_in_fan_out is set to False", "ignore:Setting `save_embedding_layers`"),
]
Q = "model.layers.0.self_attn.q_proj"
A, B = (f"base_model.model.{Q}.lora_{side}.weight" for side in "AB")
OTHER = [name.replace("q_proj", "o_proj") for name in (A, B)]
TARGETS = {"gpt2": "c_attn", "gpt_neox": "query_key_value", "bloom": "query_key_value", "bert": "query", "t5": "q"}


def make(folder, base, name="llama", **settings):
    """An adapter that has been trained, as PEFT saves it."""
    wanted = {"r": 4, "lora_alpha": 8, "target_modules": [TARGETS.get(name, "q_proj"), "v_proj"], **settings}
    torch.manual_seed(1)
    model = get_peft_model(auto(name).from_pretrained(base), LoraConfig(**wanted))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1 * torch.randn_like(parameter))
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("base")
    model_of("llama").save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def made(base, tmp_path_factory):
    """A trained adapter; to be read only."""
    return make(tmp_path_factory.mktemp("adapter"), base)


@pytest.fixture
def adapter(made, tmp_path):
    return shutil.copytree(made, tmp_path / "adapter")


def on(base, adapter, name="llama"):
    return PeftModel.from_pretrained(auto(name).from_pretrained(base), adapter)


def edit(folder, **tensors):
    found = load_file(folder / ADAPTER_WEIGHTS) | tensors
    save_file({name: each for name, each in found.items() if each is not None}, folder / ADAPTER_WEIGHTS)


def edit_config(folder, **keys):
    path = folder / ADAPTER_CONFIG
    path.write_text(json.dumps(json.loads(path.read_text()) | keys))


def failures(folder, base=None):
    """Checks of the files that fail, each with the tensors that it names."""
    return {check.name: {*check.tensors} for check in inspect(folder, base).failed}


KINDS: dict[str, dict[str, object]] = {
    "patterns": {"rank_pattern": {"q_proj": 2}, "alpha_pattern": {"layers.1.self_attn.v_proj": 32}},
    "rank stabilised": {"use_rslora": True},
    "dora": {"use_dora": True},
    "a module saved whole": {"modules_to_save": ["lm_head"]},
    "an embedding": {"target_modules": ["q_proj", "embed_tokens"]},
    "all linear": {"target_modules": "all-linear"},
    "a pattern": {"target_modules": r".*\.(up|down)_proj"},
    "one layer": {"layers_to_transform": [1]},
    "biases": {"bias": "lora_only"},
    "begun in the base": {"init_lora_weights": "pissa"},
    "single tokens": {"trainable_token_indices": [1, 2]},
}


@pytest.mark.parametrize("kind", KINDS)
def test_adapters_of_all_kinds_pass_as_files_at_work_and_merged(base, tmp_path, kind):
    folder = make(tmp_path, base, **KINDS[kind])
    assert failures(folder) == failures(folder, base) == {}
    model = on(base, folder)
    assert atlas.verify(model, folder).passed
    assert atlas.verify(model.merge_and_unload(), folder).passed


def test_parameters_of_three_dimensions_are_compared_with_their_file(tmp_path):
    model_of("mixtral").save_pretrained(tmp_path / "base")
    experts = {"target_parameters": ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"]}
    folder = make(tmp_path / "adapter", tmp_path / "base", "mixtral", **experts)
    assert failures(folder) == {}
    model = on(tmp_path / "base", folder, "mixtral")
    assert atlas.verify(model, folder).passed
    with torch.no_grad():
        next(each for name, each in model.named_parameters() if "experts.lora_B" in name).add_(1)
    assert failed(model, folder).keys() == {"loaded"}
    assert atlas.verify(on(tmp_path / "base", folder, "mixtral").merge_and_unload(), folder).passed


@pytest.mark.parametrize("name", TARGETS)
def test_on_other_architectures_and_on_bases_with_older_names(tmp_path, name):
    model_of(name).save_pretrained(tmp_path / "base")
    put(tmp_path / "base", older(name, load_file(tmp_path / "base" / WHOLE)))
    folder = make(tmp_path / "adapter", tmp_path / "base", name)
    assert failures(folder) == {}
    model = on(tmp_path / "base", folder, name)
    assert atlas.verify(model, folder).passed
    assert atlas.verify(model.merge_and_unload(), folder).passed


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({A: None}, {"names": {A}}),
        ({A: None, B: None}, {"names": {A}}),
        ({B: torch.zeros(32, 4)}, {"update": {B.removesuffix(".weight")}}),
        ({A: torch.ones(3, 32)}, {"shapes": {A}}),
        ({A: torch.ones(4, 31)}, {"shapes": {A}}),
        ({B: torch.ones(16, 4)}, {"shapes": {B}}),
        ({A: torch.full((4, 32), torch.nan)}, {"finite": {A}}),
        ({OTHER[0]: torch.ones(4, 32)}, {"names": {*OTHER}}),
        ({"step": torch.ones(1)}, {"names": {"step"}}),
    ],
)
def test_files_that_are_damaged(base, adapter, change, expected):
    edit(adapter, **change)
    assert failures(adapter, base) == expected


@pytest.mark.parametrize(
    ("keys", "check"),
    [
        ({"r": 8}, "shapes"),
        ({"rank_pattern": {Q: 2}}, "shapes"),
        ({"target_modules": ["q_proj"]}, "names"),
        ({"target_modules": ["q_proj", "v_proj", "o_proj"]}, "names"),
        ({"layers_to_transform": [0]}, "names"),
        ({"exclude_modules": ["q_proj"]}, "names"),
        ({"modules_to_save": ["lm_head"]}, "names"),
    ],
)
def test_configs_of_another_adapter(base, adapter, keys, check):
    edit_config(adapter, **keys)
    assert failures(adapter, base).keys() == {check}


def test_names_that_peft_would_skip_say_why_first(base, adapter):
    tensors = load_file(adapter / ADAPTER_WEIGHTS)
    for change, said in (
        (lambda name: name.removeprefix("base_model.model."), "8 of 8 tensors, unexpected, PEFT looks for names"),
        (lambda name: name.replace(".model.layers", "._orig_mod.model.layers"), "hold `_orig_mod.`: mend the names"),
    ):
        save_file({change(name): tensor for name, tensor in tensors.items()}, adapter / ADAPTER_WEIGHTS)
        (check,) = inspect(adapter, base).failed
        assert check.name == "names"
        assert check.detail.startswith("one cause: ")
        assert said in check.detail
        with pytest.warns(UserWarning, match="missing adapter keys"):
            model = on(base, adapter)
        assert "names" in failed(model, adapter)


def test_the_base_is_the_one_that_the_adapter_names(base, adapter, tmp_path):
    copy = shutil.copytree(base, tmp_path / "copy")
    assert failures(adapter, copy) == {}  # the same tensors elsewhere
    other = auto("llama").from_pretrained(base)
    with torch.no_grad():
        other.lm_head.weight.add_(1)
    other.save_pretrained(tmp_path / "other")
    assert failures(adapter, tmp_path / "other").keys() == {"base"}
    edit_config(adapter, base_model_name_or_path="somebody/copy")
    assert failures(adapter, copy) == {}
    edit_config(adapter, base_model_name_or_path="somebody/else")
    assert failures(adapter, copy) == {"base": {"base_model_name_or_path"}}
    report = inspect(adapter, None)
    assert report.passed
    assert (
        "the adapter names 'somebody/else', which is no folder here"
        in report.not_checked["modules and shapes of the base"]
    )


def test_merged_once_and_twice(base, made, tmp_path):
    merged = on(base, made).merge_and_unload()
    assert atlas.verify(merged, made).passed
    assert atlas.verify(merged, made, base=base).passed
    with pytest.raises(atlas.GuardError, match="is the base's without the adapter, expected once"):
        atlas.verify(auto("llama").from_pretrained(base), made)
    again = PeftModel.from_pretrained(merged, made)
    with pytest.raises(atlas.GuardError, match="with the adapter in it once, expected not at all"):
        atlas.verify(again, made)
    with pytest.raises(atlas.GuardError, match="with the adapter in it twice, expected once"):
        atlas.verify(again.merge_and_unload(), made)
    on(base, made).merge_and_unload().save_pretrained(tmp_path)
    assert "in it once, expected not at all" in next(
        check.detail for check in inspect(made, tmp_path).failed if check.name == "merged"
    )
    held = on(base, made)
    held.merge_adapter()
    assert atlas.verify(held, made).passed  # PEFT knows that it is merged


def test_merging_in_half_precision_is_counted_too(base, tmp_path):
    auto("llama").from_pretrained(base).bfloat16().save_pretrained(tmp_path / "base")
    folder = make(tmp_path / "adapter", tmp_path / "base")
    merged = on(tmp_path / "base", folder).merge_and_unload()
    assert atlas.verify(merged, folder).passed
    with pytest.raises(atlas.GuardError, match="with the adapter in it once, expected not at all"):
        atlas.verify(PeftModel.from_pretrained(merged, folder), folder)


def test_an_adapter_at_work(base, made, tmp_path):
    for change, expected in (
        (lambda model: model.disable_adapter_layers(), "active"),
        (lambda model: layer(model).scaling.update(default=7.0), "active"),
        (lambda model: layer(model).lora_B.default.weight.data.add_(1), "loaded"),
        (lambda model: layer(model).base_layer.weight.data.add_(1), "merged"),
        (lambda model: model.get_input_embeddings().weight.data.add_(1), "base loaded"),
        (lambda model: model.get_base_model().model.rotary_emb.inv_freq.zero_(), "buffers"),
        (lambda model: setattr(model.get_base_model().config, "rms_norm_eps", 0.1), "config"),
    ):
        model = on(base, made)
        change(model)
        assert failed(model, made).keys() == {expected}
    assert atlas.verify(torch.nn.DataParallel(on(base, made)), made).passed
    second = make(tmp_path, base, r=2)
    model = on(base, made)
    model.load_adapter(second, "second")
    assert atlas.verify(model, made).passed
    model.set_adapter("second")
    assert atlas.verify(model, second).passed
    assert failed(model, made).keys() == {"active"}


def layer(model):
    return model.get_base_model().get_submodule(Q)


def test_an_adapter_that_was_not_trained_and_one_that_transformers_loaded(base, made):
    fresh = get_peft_model(auto("llama").from_pretrained(base), LoraConfig(target_modules=["q_proj"]))
    fresh.save_pretrained(made.parent / "fresh")
    assert failed(fresh, made.parent / "fresh").keys() == {"update"}
    assert atlas.verify(fresh, made.parent / "fresh", trained=False).passed
    model = auto("llama").from_pretrained(base)
    model.load_adapter(made)
    assert atlas.verify(model, made).passed


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"rename": {"": ""}}, "rename: not used for an adapter"),
        ({"cast": True}, "cast: not used for an adapter"),
        ({"changed": ["rms_norm_eps"]}, "changed: not used for an adapter"),
    ],
)
def test_options_that_an_adapter_has_no_use_for(base, made, options, said):
    with pytest.raises(AtlasError, match=said):
        atlas.verify(on(base, made), made, **options)


@pytest.mark.parametrize(
    "keys",
    [
        {"r": True},
        {"lora_alpha": "16"},
        {"target_modules": [1]},
        {"target_modules": "(q_proj"},
        {"rank_pattern": {"(q": 2}},
        {"alpha_pattern": {"q_proj": None}},
        {"modules_to_save": "lm_head"},
        {"base_model_name_or_path": 7},
    ],
    ids=str,
)
def test_a_config_that_cannot_be_read_is_one_line(adapter, keys):
    edit_config(adapter, **keys)
    with pytest.raises(
        AtlasError, match=f"{ADAPTER_CONFIG}: {next(iter(keys))} is .*, expected .*; take the file of PEFT"
    ):
        inspect(adapter, None)


def test_a_damaged_file_is_not_to_be_deleted(adapter):
    path = adapter / ADAPTER_WEIGHTS
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(AtlasError, match="fetch or copy it again"):
        inspect(adapter, None)


def test_what_is_given_must_go_together(base, made, adapter):
    with pytest.raises(AtlasError, match="goes with the folder of an adapter, and this is none"):
        atlas.verify(auto("llama").from_pretrained(base), base, base=base)
    with pytest.raises(AtlasError, match="give its folder, and this one as base="):
        atlas.verify(on(base, made), base)
    edit_config(adapter, base_model_name_or_path="somebody/else")
    with pytest.raises(
        AtlasError, match="the model holds no adapter of PEFT, so that this one must be merged in; give"
    ):
        atlas.verify(auto("llama").from_pretrained(base), adapter)
    details = [check.detail for check in atlas.verify(on(base, adapter), adapter).checks]
    assert any(each.startswith("not judged, nor the weights below: give the base") for each in details)
    edit_config(adapter, peft_type="IA3")
    with pytest.raises(AtlasError, match="peft_type is 'IA3', expected LORA"):
        inspect(adapter, None)
    edit_config(adapter, peft_type="LORA", r=None)
    with pytest.raises(AtlasError, match="r is None, expected a whole number above 0"):
        inspect(adapter, None)
    (adapter / ADAPTER_WEIGHTS).unlink()
    edit_config(adapter, r=4)
    with pytest.raises(AtlasError, match=r"adapter_model\.safetensors: no such file; save the adapter with PEFT's"):
        inspect(adapter, None)


def test_the_command(base, adapter, atlas_verify):
    code, out, _ = atlas_verify(adapter, "--base", base)
    assert code == 0
    assert "LoRA adapter of 4 modules" in out
    assert "not checked: whether the adapter is loaded" in out
    edit(adapter, **{B: torch.zeros(32, 4)})
    code, out, _ = atlas_verify(adapter, "--json")
    assert code == 1
    assert {check["name"] for check in json.loads(out)["checks"] if not check["passed"]} == {"update"}
    for arguments, told in (
        ((base, "--base", base), "goes with the folder of an adapter"),
        ((adapter, "--corpus", "corpus.txt"), "goes with checkpoints of Atlas's own, and"),
        ((adapter, "--manifest", "base.json"), "goes with checkpoints of Atlas's own, and"),
        ((adapter, "--base", base / "nowhere"), "nowhere: no such file or folder; give the base"),
        ((base, "--corpus", base / "config.json"), "--corpus goes with checkpoints of Atlas's own"),
        ((base, "--manifest", base / "config.json"), "--manifest goes with checkpoints of Atlas's own"),
        ((base, "--json", "--all"), "--all: not used with --json"),
    ):
        code, _, err = atlas_verify(*arguments)
        assert (code, err.count("\n")) == (1, 1)
        assert told in err
