"""Embeddings and heads saved whole: known by their place and shape, whatever a model calls them."""

import numpy as np
import pytest

from adamergex.checkpoint import open_checkpoint
from adamergex.errors import InputError
from tests.support.folders import (
    LORA,
    edit_tensors,
    lora_tensors,
    stored_tensors,
    write_adapter,
    write_ia3,
    write_prefix,
)

PEFT = "base_model.model."
WIDTH, VOCABULARY = 8, 33


def opened(folder, shapes, **config):
    extra = {f"{PEFT}{name}": np.ones(shape, np.float32) for name, shape in shapes.items()}
    write_adapter(folder, {**LORA, **config}, {**lora_tensors(0, size=WIDTH), **extra})
    return open_checkpoint(folder).layout


EMBEDDINGS = (
    "model.embed_tokens",
    "lm_head",
    "embed_out",  # GPT-NeoX
    "gpt_neox.embed_in",
    "transformer.wte",
    "transformer.word_embeddings",  # BLOOM, Falcon
    "model.language_model.embed_tokens",
    "language_model.lm_head",
    "output",
    "transformer.output_layer",  # ChatGLM
    "cls.predictions.decoder",  # BERT
    "proj_out",  # Whisper
    "shared",
)


@pytest.mark.parametrize("name", EMBEDDINGS)
@pytest.mark.parametrize("bias", [False, True])
def test_embeddings_and_output_layers_of_any_name(tmp_path, name, bias):
    shapes = {f"{name}.weight": (VOCABULARY, WIDTH)}
    shapes |= {f"{name}.bias": (VOCABULARY,)} if bias else {}
    assert opened(tmp_path, shapes).whole == tuple(sorted(f"{PEFT}{key}" for key in shapes))


HEADS = {
    "score": {"score.weight": (3, WIDTH)},
    "classifier": {"classifier.weight": (3, WIDTH), "classifier.bias": (3,)},
    "RoBERTa's": {
        "classifier.dense.weight": (WIDTH, WIDTH),
        "classifier.dense.bias": (WIDTH,),
        "classifier.out_proj.weight": (3, WIDTH),
        "classifier.out_proj.bias": (3,),
    },
    "two layers of other widths": {
        "score.0.weight": (5, WIDTH),
        "score.2.weight": (3, 5),
        "score.2.bias": (3,),
    },
    "of questions": {"qa_outputs.weight": (2, WIDTH), "qa_outputs.bias": (2,)},
}


@pytest.mark.parametrize("shapes", HEADS.values(), ids=HEADS)
def test_heads_that_the_config_does_not_name(tmp_path, shapes):
    assert opened(tmp_path, shapes).whole == tuple(sorted(f"{PEFT}{key}" for key in shapes))


def test_the_bias_of_an_output_layer_is_kept_with_it(tmp_path):
    """And not merged with the trained biases of the layers, which are sums."""
    layer = "model.layers.0.self_attn.q_proj"
    shapes = {
        "embed_out.weight": (VOCABULARY, WIDTH),
        "embed_out.bias": (VOCABULARY,),
        f"{layer}.base_layer.bias": (WIDTH,),
    }
    layout = opened(tmp_path, shapes, bias="all")
    assert layout.biases == (f"{PEFT}{layer}.base_layer.bias",)
    assert layout.whole == (f"{PEFT}embed_out.bias", f"{PEFT}embed_out.weight")


def test_what_is_beneath_lora_on_the_embeddings(tmp_path):
    name = "transformer.wte"
    shapes = {
        f"{name}.lora_embedding_A": (2, VOCABULARY),
        f"{name}.lora_embedding_B": (WIDTH, 2),
        f"{name}.base_layer.weight": (VOCABULARY, WIDTH),
    }
    assert opened(tmp_path / "a", shapes).whole == (f"{PEFT}{name}.base_layer.weight",)
    # As PEFT wrote it before version 0.7.
    shapes[f"{name}.weight"] = shapes.pop(f"{name}.base_layer.weight")
    assert opened(tmp_path / "b", shapes).whole == (f"{PEFT}{name}.base_layer.weight",)


NEITHER = {
    "another width": {"embed_out.weight": (VOCABULARY, WIDTH + 1)},
    "one axis": {"embed_out.weight": (WIDTH,)},
    "three axes": {"embed_out.weight": (VOCABULARY, WIDTH, 1)},
    "a norm": {"model.norm.weight": (WIDTH,)},
    "a bias alone": {"embed_out.bias": (VOCABULARY,)},
    "a bias of another length": {
        "embed_out.weight": (VOCABULARY, WIDTH),
        "embed_out.bias": (VOCABULARY + 1,),
    },
    "a weight of a layer": {"model.layers.1.mlp.up_proj.weight": (WIDTH, WIDTH)},
    "beneath an adapter in a layer": {
        "model.layers.0.self_attn.q_proj.base_layer.weight": (WIDTH, WIDTH)
    },
    "a part of another adapter": {"embed_out.lora_C.weight": (WIDTH, WIDTH)},
    "quantisation": {"embed_out.weight_scale": (VOCABULARY, WIDTH)},
}


@pytest.mark.parametrize("shapes", NEITHER.values(), ids=NEITHER)
def test_what_is_neither_is_refused_by_name(tmp_path, shapes):
    with pytest.raises(InputError) as caught:
        opened(tmp_path, shapes)
    assert f"{PEFT}{list(shapes)[-1]}" in str(caught.value)


def test_lists_of_layers_are_known_by_the_adapters_in_them(tmp_path):
    """`stages.3` is no name of layers that this knows."""
    tensors = {k.replace(".layers.", ".stages."): x for k, x in lora_tensors(0).items()}
    name = f"{PEFT}model.stages.0.mlp.up_proj.weight"
    folder = write_adapter(tmp_path, LORA, {**tensors, name: np.ones((8, 8), np.float32)})
    with pytest.raises(InputError, match="modules_to_save"):
        open_checkpoint(folder)


def test_beside_other_structures(tmp_path):
    weight = np.ones((VOCABULARY, 16), np.float32)
    ia3 = edit_tensors(write_ia3(tmp_path / "ia3"), {f"{PEFT}embed_out.weight": weight})
    assert open_checkpoint(ia3).layout.whole == (f"{PEFT}embed_out.weight",)
    # Prefix tuning leaves the model as it is: PEFT's prefix of names is shorter there.
    prefix = edit_tensors(write_prefix(tmp_path / "prefix"), {"base_model.score.weight": weight})
    assert open_checkpoint(prefix).layout.whole == ("base_model.score.weight",)
    assert stored_tensors(prefix).keys() == {"prompt_embeddings", "base_model.score.weight"}


def test_a_narrower_embedding_is_known_by_its_name(tmp_path):
    """ALBERT and OPT-350M project embeddings that are narrower than the model."""
    name = "albert.embeddings.word_embeddings.weight"
    assert opened(tmp_path, {name: (VOCABULARY, 4)}).whole == (f"{PEFT}{name}",)
