"""adapter_config.json: what is understood, what is harmless, and what is refused by name."""

import json
import math

import pytest

from adamergex.checkpoint import Ia3Config, LoraConfig, PrefixConfig, read_config
from adamergex.errors import InputError
from tests.support.folders import IA3, LORA, PREFIX_TUNING


def read(tmp_path, text):
    path = tmp_path / "adapter_config.json"
    path.write_text(text if isinstance(text, str) else json.dumps(text))
    return read_config(path)


def refused(tmp_path, text):
    """The message; it always names the file."""
    with pytest.raises(InputError) as caught:
        read(tmp_path, text)
    message = str(caught.value)
    assert str(tmp_path / "adapter_config.json") in message
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    ("raw", "cls"), [(LORA, LoraConfig), (IA3, Ia3Config), (PREFIX_TUNING, PrefixConfig)]
)
def test_each_structure_is_read(tmp_path, raw, cls):
    config = read(tmp_path, raw)
    assert type(config) is cls
    assert config.base_model_name_or_path == raw["base_model_name_or_path"]


@pytest.mark.parametrize("value", [None, False, {}, [], ""])
def test_an_unknown_field_that_is_off_is_harmless(tmp_path, value):
    read(tmp_path, {**LORA, "a_future_variant": value})


@pytest.mark.parametrize("value", [True, 1, 0, 0.0, "on", [0], {"a": None}])
def test_an_unknown_field_that_is_on_is_refused_by_name(tmp_path, value):
    """Zero too: it is a number with a meaning, an index for instance."""
    assert "a_future_variant" in refused(tmp_path, {**LORA, "a_future_variant": value})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("layer_replication", [[0, 2], [1, 3]]),
        ("loftq_config", {"loftq_bits": 4}),
        ("trainable_token_indices", [1]),
        ("target_parameters", ["experts.weight"]),
        ("use_qalora", True),
        ("alora_invocation_tokens", [5]),
        ("arrow_config", {"top_k": 2}),
    ],
)
def test_variants_of_lora_that_would_merge_wrong_are_refused(tmp_path, field, value):
    assert field in refused(tmp_path, {**LORA, field: value})


@pytest.mark.parametrize("init", ["pissa", "pissa_niter_16", "olora", "loftq", "corda"])
def test_initialisations_that_change_the_base_weights_are_refused(tmp_path, init):
    assert "init_lora_weights" in refused(tmp_path, {**LORA, "init_lora_weights": init})


@pytest.mark.parametrize("init", [True, False, "gaussian", "eva", "orthogonal"])
def test_initialisations_that_leave_the_base_weights_are_read(tmp_path, init):
    read(tmp_path, {**LORA, "init_lora_weights": init})


@pytest.mark.parametrize(
    ("raw", "field", "value"),
    [
        (LORA, "r", "8"),
        (LORA, "r", 0),
        (LORA, "r", -1),
        (LORA, "r", 2.5),
        (LORA, "r", True),
        (LORA, "lora_alpha", "16"),
        (LORA, "lora_alpha", None),
        (LORA, "use_dora", "no"),
        (LORA, "bias", "some"),
        (LORA, "rank_pattern", {"q_proj": 0}),
        (LORA, "alpha_pattern", {"q_proj": "2"}),
        (LORA, "modules_to_save", "score"),
        (LORA, "base_model_name_or_path", 3),
        (IA3, "fan_in_fan_out", 1),
        (PREFIX_TUNING, "num_virtual_tokens", 0),
        (PREFIX_TUNING, "num_layers", None),
    ],
)
def test_a_field_of_the_wrong_type_is_refused_by_name(tmp_path, raw, field, value):
    assert field in refused(tmp_path, {**raw, field: value})


def test_of_many_patterns_the_wrong_one_is_named(tmp_path):
    ranks = {**{f"layers.{i}.q_proj": 4 for i in range(100)}, "k_proj": 0}
    message = refused(tmp_path, {**LORA, "rank_pattern": ranks})
    assert "rank_pattern: k_proj: found 0; needed a whole number from 1 on" in message


@pytest.mark.parametrize("value", ["NaN", "Infinity", "1e999"])
def test_an_alpha_that_is_not_finite_is_refused(tmp_path, value):
    """Python's JSON reads all three; scaled by them, every weight would be lost."""
    text = json.dumps({**LORA, "lora_alpha": 1}).replace(
        '"lora_alpha": 1', f'"lora_alpha": {value}'
    )
    assert "lora_alpha" in refused(tmp_path, text)


@pytest.mark.parametrize("field", ["rank_pattern", "alpha_pattern"])
def test_a_pattern_that_is_no_regular_expression_is_refused(tmp_path, field):
    with pytest.raises(InputError, match=field):
        read(tmp_path, {**LORA, field: {"(": 2}}).scaling("model.q_proj")


def test_a_missing_required_field_is_named(tmp_path):
    raw = {k: v for k, v in PREFIX_TUNING.items() if k != "num_layers"}
    assert "num_layers: found nothing; needed" in refused(tmp_path, raw)


@pytest.mark.parametrize("value", ["LOHA", "PROMPT_TUNING", "lora", None, 3, ["LORA"]])
def test_another_peft_type_is_refused(tmp_path, value):
    message = refused(tmp_path, {**LORA, "peft_type": value})
    assert "peft_type" in message
    assert "LORA or IA3 or PREFIX_TUNING" in message


def test_a_field_that_stands_twice_is_refused(tmp_path):
    text = json.dumps(LORA).replace('"r": 2', '"r": 2, "r": 4')
    message = refused(tmp_path, text)
    assert ": r: " in message
    assert "twice" in message


@pytest.mark.parametrize("text", ["", "{", "[1, 2", "\x00", "[" * 100_000, '{"r": 08}'])
def test_text_that_is_not_json_is_refused(tmp_path, text):
    assert "JSON" in refused(tmp_path, text)


@pytest.mark.parametrize("text", ["[]", "3", "null", '"LORA"'])
def test_json_that_is_no_object_is_refused(tmp_path, text):
    assert "JSON object" in refused(tmp_path, text)


def test_bytes_that_are_not_utf8_are_refused(tmp_path):
    path = tmp_path / "adapter_config.json"
    path.write_bytes(b'{"peft_type": "\xff"}')
    with pytest.raises(InputError, match="config, in UTF-8"):
        read_config(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        read_config(tmp_path / "adapter_config.json")


def test_an_enormous_config_is_not_read(tmp_path):
    assert "bytes" in refused(tmp_path, " " * (4 * 2**20 + 1))


def test_a_message_is_one_line_of_bounded_length(tmp_path):
    """A value from an untrusted file can neither forge a second line nor fill the screen."""
    message = refused(tmp_path, {**LORA, "peft_type": "x\n\x1b[31mok" * 500})
    assert "\x1b" not in message
    assert len(message) < 700


def test_scaling_by_pattern_and_rslora(tmp_path):
    patterns = {"rank_pattern": {"v_proj": 16}, "alpha_pattern": {r"layers\.1\..*q_proj": 3}}
    config = read(tmp_path, {**LORA, "r": 4, "lora_alpha": 8, **patterns})
    assert config.scaling("model.layers.0.self_attn.q_proj") == 2
    assert config.scaling("model.layers.0.self_attn.v_proj") == 0.5
    assert config.scaling("model.layers.1.self_attn.q_proj") == 0.75
    stable = read(tmp_path, {**LORA, "r": 4, "lora_alpha": 8, "use_rslora": True})
    assert stable.scaling("model.layers.0.self_attn.q_proj") == 8 / math.sqrt(4)


def test_written_fields_drop_what_no_longer_holds(tmp_path):
    raw = {**LORA, "peft_version": "0.1", "use_rslora": True, "rank_pattern": {"q_proj": 3}}
    written = read(tmp_path, raw).written(r=6, lora_alpha=6)
    assert written["r"] == written["lora_alpha"] == 6
    assert written["inference_mode"] is True
    assert written["target_modules"] == LORA["target_modules"]
    assert not {"peft_version", "use_rslora", "rank_pattern"} & written.keys()
