"""What `inspect` says of adapters, against dense matrices."""

import json

import numpy as np
import pytest

from adamergex.checkpoint import open_checkpoint
from adamergex.merging.inspection import compared, described
from tests.support.folders import (
    PREFIX,
    dense_updates,
    edit_config,
    edit_tensors,
    stored_tensors,
    three,
    write_ia3,
    write_lora,
    write_prefix,
)


def opened(inputs):
    return [open_checkpoint(folder) for folder in inputs.values()]


def layer_number(name):
    return int(name.split("layers.")[1].split(".")[0])


def lora_vectors(folder):
    """Layer -> the updates of its modules, as one long vector."""
    updates = dense_updates(folder)
    layers = sorted({layer_number(name) for name in updates})
    return {
        i: np.concatenate([x.ravel() for n, x in updates.items() if layer_number(n) == i])
        for i in layers
    }


def ia3_vectors(folder):
    """An (IA)3 vector changes nothing at 1."""
    return {layer_number(n): x.ravel() - 1 for n, x in stored_tensors(folder).items()}


def prefix_vectors(folder):
    stored = stored_tensors(folder)["prompt_embeddings"]
    return {layer: stored[:, 16 * layer : 16 * (layer + 1)].ravel() for layer in range(2)}


STRUCTURES = {
    "lora": (write_lora, lora_vectors),
    "ia3": (write_ia3, ia3_vectors),
    "prefix": (write_prefix, prefix_vectors),
}
each = pytest.mark.parametrize(("write", "vectors"), STRUCTURES.values(), ids=STRUCTURES)


def whole(layers):
    return np.concatenate(list(layers.values()))


def check_relation(found, x, y):
    cosine = x @ y / np.linalg.norm(x) / np.linalg.norm(y)
    assert found["cosine"] == pytest.approx(cosine, rel=1e-5, abs=1e-6)
    assert found["norm_ratio"] == pytest.approx(np.linalg.norm(x) / np.linalg.norm(y), rel=1e-5)


def check_all(found, x, y):
    """Overall, and layer by layer."""
    check_relation(found, whole(x), whole(y))
    assert [row["layer"] for row in found["by_layer"]] == sorted(x)
    for row in found["by_layer"]:
        check_relation(row, x[row["layer"]], y[row["layer"]])


@each
def test_cosines_and_sizes_of_every_pair(tmp_path, write, vectors):
    inputs = three(tmp_path, write)
    facts = compared(opened(inputs))
    assert facts["compatible"] is True
    folders = list(inputs.values())
    pairs = [(0, 1), (0, 2), (1, 2)]
    assert len(facts["pairs"]) == len(pairs)
    for found, (i, j) in zip(facts["pairs"], pairs, strict=True):
        assert found["pair"] == f"{folders[i]} ~ {folders[j]}"
        check_all(found, vectors(folders[i]), vectors(folders[j]))


@each
def test_the_divergence_against_the_task(tmp_path, write, vectors):
    inputs = three(tmp_path, write)
    t, rt, rs = (vectors(folder) for folder in inputs.values())
    divergence = {layer: rt[layer] - rs[layer] for layer in rt}
    check_all(compared(opened(inputs))["divergence_to_task"], divergence, t)


@each
def test_the_norm_of_one_adapter(tmp_path, write, vectors):
    folder = write(tmp_path)
    facts = described(open_checkpoint(folder))
    assert facts["norm"] == pytest.approx(np.linalg.norm(whole(vectors(folder))), rel=1e-6)
    assert facts["parameters"] == sum(x.size for x in stored_tensors(folder).values())
    json.dumps(facts, allow_nan=False)


def test_different_ranks_and_scalings_compare(tmp_path):
    one, two = write_lora(tmp_path / "one"), write_lora(tmp_path / "two", 1, r=3, use_rslora=True)
    (found,) = compared([open_checkpoint(one), open_checkpoint(two)])["pairs"]
    check_all(found, lora_vectors(one), lora_vectors(two))


def test_two_adapters_have_no_divergence(tmp_path):
    facts = compared(opened(three(tmp_path))[:2])
    assert len(facts["pairs"]) == 1
    assert not {"divergence_to_task", "merge"} & facts.keys()


def test_more_than_three_are_compared_pair_by_pair(tmp_path):
    folders = [write_lora(tmp_path / str(seed), seed) for seed in range(4)]
    facts = compared([open_checkpoint(folder) for folder in folders])
    assert len(facts["pairs"]) == 6
    assert "divergence_to_task" not in facts


def test_equal_references_have_no_direction(tmp_path):
    inputs = three(tmp_path)
    inputs["reference_source"] = inputs["reference_target"]
    found = compared(opened(inputs))["divergence_to_task"]
    assert found["norm_ratio"] == pytest.approx(0, abs=1e-6)
    json.dumps(found, allow_nan=False)


def test_an_adapter_that_changes_nothing_has_no_cosine(tmp_path):
    """A freshly made LoRA, whose B is zero, against a trained one."""
    one, zero = write_lora(tmp_path / "one"), write_lora(tmp_path / "zero", 1)
    names = [name for name in stored_tensors(zero) if "lora_B" in name]
    edit_tensors(zero, {name: np.zeros((8, 2), np.float32) for name in names})
    (found,) = compared([open_checkpoint(one), open_checkpoint(zero)])["pairs"]
    assert (found["cosine"], found["norm_ratio"]) == (None, None)


def test_what_does_not_fit_is_said(tmp_path):
    inputs = three(tmp_path)
    edit_config(inputs["reference_source"], base_model_name_or_path="other/model")
    facts = compared(opened(inputs))
    assert facts["compatible"] is False
    assert "other/model" in facts["problem"]
    assert compared(opened(inputs), allow_different_base=True)["compatible"] is True


def test_the_description_of_a_lora(tmp_path):
    write_lora(tmp_path, r=3, lora_alpha=6)
    facts = described(open_checkpoint(tmp_path))
    wanted = {
        "name": str(tmp_path),
        "structure": "LORA",
        "variant": "LoRA",
        "base_model": "tiny-random/llama",
        "modules": 4,
        "kinds": ["q_proj", "v_proj"],
        "layers": 2,
        "dtypes": ["float32"],
        "ranks": [3],
        "scalings": [2.0],
        "saved_whole": [],
        "trained_biases": 0,
    }
    assert {key: facts[key] for key in wanted} == wanted


def test_variants_are_named(tmp_path):
    assert (
        described(open_checkpoint(write_lora(tmp_path / "a", use_rslora=True)))["variant"]
        == "rsLoRA"
    )
    dora = write_lora(tmp_path / "b")
    modules = {n.rsplit(".lora_", 1)[0] for n in stored_tensors(dora)}
    edit_tensors(dora, {f"{m}.lora_magnitude_vector": np.ones(8, np.float32) for m in modules})
    edit_config(dora, use_dora=True)
    assert described(open_checkpoint(dora))["variant"] == "DoRA"
    assert described(open_checkpoint(write_prefix(tmp_path / "c")))["virtual_tokens"] == 3


def test_modules_outside_the_layers_count_too(tmp_path):
    name = f"{PREFIX.removesuffix('.layers')}.embed_tokens"
    folders = []
    for seed in range(2):
        rng = np.random.default_rng(seed)
        folder = write_lora(tmp_path / str(seed), seed)
        made = {"lora_embedding_A": (2, 5), "lora_embedding_B": (8, 2)}
        extra = {f"{name}.{k}": rng.normal(size=s).astype(np.float32) for k, s in made.items()}
        folders.append(edit_tensors(folder, extra))
    (found,) = compared([open_checkpoint(folder) for folder in folders])["pairs"]
    assert [row["layer"] for row in found["by_layer"]] == [-1, 0, 1]
