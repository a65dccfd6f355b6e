"""Names that torch.compile, DDP, FSDP, DeepSpeed, Lightning and others leave in an adapter's file.

Whatever was around the model when it was saved, what is read is the same adapter, or nothing is.
"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adamergex.checkpoint import open_checkpoint
from adamergex.errors import InputError
from adamergex.merging import merge
from tests.support.folders import (
    LORA,
    PREFIX,
    ROLES,
    config_of,
    edit_tensors,
    lora_tensors,
    stored_tensors,
    three,
    write_adapter,
    write_ia3,
    write_lora,
    write_prefix,
)

PEFT = "base_model.model."
PRIVATE = [
    "_orig_mod",
    "_fsdp_wrapped_module",
    "_checkpoint_wrapped_module",
    "_forward_module",
    "_fpw_module",
    "_ddp_module",
    "_original_module",
]
Q = f"{PREFIX}.0.self_attn.q_proj"
WRITERS = {"lora": write_lora, "ia3": write_ia3, "prefix": write_prefix}


def renamed(folder, new):
    """The adapter with every name changed by `new`."""
    return write_adapter(
        folder,
        config_of(folder),
        {new(name): x for name, x in stored_tensors(folder, np.float32).items()},
    )


def read(folder):
    checkpoint = open_checkpoint(folder)
    return {name: checkpoint.read(name) for name in checkpoint.tensors}


def refused(folder):
    with pytest.raises(InputError) as caught:
        open_checkpoint(folder)
    message = str(caught.value)
    assert "adapter_model.safetensors" in message
    assert message.isprintable()
    return message


def same(found, wanted):
    assert found.keys() == wanted.keys()
    assert all(np.array_equal(found[name], x) for name, x in wanted.items())


def inserted(name, parts, places):
    """`name` with each of `parts` put before the segment at its place."""
    segments = name.split(".")
    for part, place in zip(parts, places, strict=True):
        segments.insert(place % (len(segments) + 1), part)
    return ".".join(segments)


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
@given(data=st.data())
def test_private_wrappers_anywhere_are_the_same_adapter(tmp_path_factory, write, data):
    folder = write(tmp_path_factory.mktemp("adapter"))
    wanted = read(folder)

    def new(name):
        parts = data.draw(st.lists(st.sampled_from(PRIVATE), max_size=3))
        places = [data.draw(st.integers(0, 12)) for _ in parts]
        return inserted(name, parts, places)

    same(read(renamed(folder, new)), wanted)


FRONTS = ["module", *PRIVATE[:3], "base_model", "model", "thinker", "0"]


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
@given(data=st.data())
def test_any_name_around_or_inside_is_the_same_adapter_or_none(tmp_path_factory, write, data):
    """In all names or in some, PEFT's prefix there or not: never a part of it, or another one."""
    folder = write(tmp_path_factory.mktemp("adapter"))
    wanted = read(folder)
    parts = data.draw(st.lists(st.sampled_from(FRONTS), max_size=3))
    places = [data.draw(st.integers(0, 5)) for _ in parts]
    cut = data.draw(st.sampled_from(["", "base_model.", PEFT]))
    some = data.draw(st.booleans())

    def new(name):
        if some and data.draw(st.booleans()):
            return name
        return inserted(name.removeprefix(cut), parts, places)

    try:
        found = read(renamed(folder, new))
    except InputError:
        return
    if not {"model", "thinker", "0"} & {*parts} and cut != "base_model.":
        same(found, wanted)
    else:  # a module of that name may well be: then it is no other adapter's
        assert sorted(x.tobytes() for x in found.values()) == sorted(
            x.tobytes() for x in wanted.values()
        )
        assert all(name.startswith(PEFT) or name == "prompt_embeddings" for name in found)


MEANS_ONE_THING = {
    "compiled": lambda name: f"_orig_mod.{name}",
    "compiled inside": lambda name: name.replace(PEFT, f"{PEFT}_orig_mod."),
    "compiled layers": lambda name: name.replace(".self_attn", "._orig_mod.self_attn"),
    "DDP": lambda name: f"module.{name}",
    "DeepSpeed and DDP": lambda name: f"module.module.{name}",
    "DDP of the base": lambda name: name.replace(PEFT, f"{PEFT}module."),
    "DDP between": lambda name: name.replace(PEFT, "base_model.module.model."),
    "Lightning": lambda name: f"_forward_module.{name}",
    "FSDP": lambda name: f"_fsdp_wrapped_module.{name}",
    "FSDP of layers": lambda name: name.replace(".layers.0", ".layers.0._fsdp_wrapped_module"),
    "FSDP of factors": lambda name: name.replace(".weight", "._fsdp_wrapped_module.weight"),
    "checkpoints": lambda name: name.replace(".self_attn", "._checkpoint_wrapped_module.self_attn"),
    "all": lambda name: f"module._orig_mod._fsdp_wrapped_module.{name}",
    "no prefix": lambda name: name.removeprefix(PEFT),
    "no prefix, DDP": lambda name: f"module.{name.removeprefix(PEFT)}",
    "an adapter's name": lambda name: name.replace(".weight", ".default.weight"),
    "another": lambda name: name.replace(".weight", ".my-adapter_2.weight"),
    "a raw state": lambda name: f"module.{name.replace('.weight', '.default.weight')}",
}


@pytest.mark.parametrize("new", MEANS_ONE_THING.values(), ids=MEANS_ONE_THING)
def test_what_can_only_mean_one_thing_is_read_so_and_said(tmp_path, new):
    folder = write_lora(tmp_path)
    wanted = read(folder)
    assert open_checkpoint(folder).layout.renamed == ()
    same(read(renamed(folder, new)), wanted)
    assert open_checkpoint(folder).layout.renamed


@pytest.mark.parametrize("role", range(3))
def test_only_some_of_the_three_may_be_wrapped(tmp_path, role):
    inputs = three(tmp_path)
    wanted = dict(merge(**inputs, scale=0.5).tensors())
    renamed(list(inputs.values())[role], lambda name: f"_orig_mod.{name.removeprefix(PEFT)}")
    same(dict(merge(**inputs, scale=0.5).tensors()), wanted)
    assert list(merge(**inputs).summary["renamed"]) == [ROLES[role].replace("-", "_")]


SEVERAL_THINGS = {
    "a part of the model, or around it": lambda name: f"thinker.{name}",
    "Lightning's attribute": lambda name: f"model.{name}",
    "behind a wrapper": lambda name: f"_forward_module.model.{name}",
    "an adapter upon an adapter": lambda name: f"{PEFT}{name}",
    "a wrapper or a module": lambda name: name.replace(".self_attn", ".module.self_attn"),
    "PEFT's model or the base's": lambda name: name.removeprefix("base_model."),
    "no PEFT's": lambda name: name.replace(PEFT, "base_model.encoder."),
    "a layer's own adapter": lambda name: name.replace(".lora_", ".base_layer.lora_"),
}


@pytest.mark.parametrize("new", SEVERAL_THINGS.values(), ids=SEVERAL_THINGS)
def test_what_could_mean_several_things_is_refused(tmp_path, new):
    folder = write_lora(tmp_path)
    message = refused(renamed(folder, new))
    assert new(f"{PREFIX}.0.self_attn.")[:20] in message


def test_a_name_that_stands_twice_is_refused(tmp_path):
    folder = edit_tensors(
        write_lora(tmp_path), {f"_orig_mod.{Q}.lora_A.weight": np.ones((2, 8), np.float32)}
    )
    assert "the same tensor" in refused(folder)


def test_two_adapters_in_one_file_are_refused(tmp_path):
    """PEFT once wrote a second adapter's tensors beside the first's."""
    tensors = lora_tensors(0)
    of_two = {
        k.replace(".weight", f".{'ab'['layers.1' in k]}.weight"): x for k, x in tensors.items()
    }
    assert "a and b" in refused(write_adapter(tmp_path / "named", LORA, of_two))
    one_named = {
        k.replace(".weight", ".b.weight") if "layers.1" in k else k: x for k, x in tensors.items()
    }
    assert "none and b" in refused(write_adapter(tmp_path / "one", LORA, one_named))


@pytest.mark.parametrize("write", [write_ia3, write_prefix], ids=["ia3", "prefix"])
def test_other_structures_as_a_models_own_state_has_them(tmp_path, write):
    folder = write(tmp_path)
    wanted = read(folder)

    def raw(name):
        return "prompt_encoder.default.embedding.weight" if "prompt" in name else f"{name}.default"

    same(read(renamed(folder, lambda name: f"module.{raw(name)}")), wanted)


def test_a_prefix_before_its_projection_is_no_prefix(tmp_path):
    folder = renamed(
        write_prefix(tmp_path, prefix_projection=True),
        lambda _: "prompt_encoder.default.embedding.weight",
    )
    assert "needed prompt_embeddings" in refused(folder)


def dora_tensors(form):
    tensors = lora_tensors(0)
    modules = {name.partition(".lora_")[0] for name in tensors}
    norms = {f"{m}.lora_magnitude_vector{form}": np.full(8, 2, np.float32) for m in modules}
    return {**tensors, **norms}


@pytest.mark.parametrize("form", ["", ".weight"])
def test_both_forms_of_doras_magnitudes(tmp_path, form):
    folder = write_adapter(tmp_path, {**LORA, "use_dora": True}, dora_tensors(form))
    assert open_checkpoint(folder).layout.renamed == ()
    assert f"{Q}.lora_magnitude_vector{form}" in read(folder)


@pytest.mark.parametrize("form", [".default", ".default.weight"])
def test_doras_magnitudes_with_an_adapters_name(tmp_path, form):
    wanted = dora_tensors("")
    config = {**LORA, "use_dora": True}
    raw = {k.replace(".weight", ".default.weight"): x for k, x in lora_tensors(0).items()}
    raw |= {k: x for k, x in dora_tensors(form).items() if "magnitude" in k}
    same(read(write_adapter(tmp_path, config, raw)), wanted)


def test_one_magnitude_in_both_forms_is_refused(tmp_path):
    twice = {**dora_tensors(""), **dora_tensors(".weight")}
    assert "the same tensor" in refused(write_adapter(tmp_path, {**LORA, "use_dora": True}, twice))


def head(*names):
    return {f"{PEFT}{name}": np.full((3, 8), i, np.float32) for i, name in enumerate(names)}


def test_a_saved_module_as_a_models_own_state_has_it(tmp_path):
    """And the base model's copy beside it is not taken for the trained one."""
    config = {**LORA, "modules_to_save": ["score"]}
    extra = head("score.modules_to_save.default.weight", "score.original_module.weight")
    raw = {k.replace(".weight", ".default.weight"): x for k, x in lora_tensors(0).items()}
    folder = write_adapter(tmp_path, config, {**raw, **extra})
    found = read(folder)
    assert (found[f"{PEFT}score.weight"] == 0).all()
    assert "without modules_to_save.default" in open_checkpoint(folder).layout.renamed


def test_the_base_models_copy_alone_is_refused(tmp_path):
    config = {**LORA, "modules_to_save": ["score"]}
    extra = head("score.original_module.weight")
    folder = write_adapter(tmp_path, config, {**lora_tensors(0), **extra})
    assert "the trained one" in refused(folder)


def test_a_trained_bias_as_old_peft_wrote_it(tmp_path):
    """Before 0.7 there was no base_layer; PEFT today leaves out what has none."""
    bias = {f"{Q}.bias": np.ones(8, np.float32)}
    folder = write_adapter(tmp_path, {**LORA, "bias": "lora_only"}, {**lora_tensors(0), **bias})
    layout = open_checkpoint(folder).layout
    assert layout.biases == (f"{Q}.base_layer.bias",)
    assert layout.renamed == ("bias as base_layer.bias",)


def test_what_is_beneath_a_module_without_an_adapter_is_refused(tmp_path):
    name = f"{PEFT}lm_head.base_layer.weight"
    folder = write_adapter(tmp_path, LORA, {**lora_tensors(0), name: np.ones((9, 8), np.float32)})
    assert f"{PEFT}lm_head.weight" in refused(folder)


def test_an_adapter_on_a_module_that_is_saved_whole_is_refused(tmp_path):
    """PEFT puts none there, and leaves its tensors out."""
    folder = write_lora(tmp_path, modules_to_save=["q_proj"])
    assert "q_proj" in refused(folder)


def test_a_head_beside_the_model_is_not_taken_for_the_models(tmp_path):
    """TRL's value head, for instance: no module of the base."""
    extra = {"v_head.summary.weight": np.ones((1, 8), np.float32)}
    assert "v_head.summary.weight" in refused(
        write_adapter(tmp_path, LORA, {**lora_tensors(0), **extra})
    )
