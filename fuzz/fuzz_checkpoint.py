"""Atheris: any bytes as an adapter folder are opened and read, or refused with an InputError.

An input is the config's length (2 bytes, little-endian), adapter_config.json, and after it
adapter_model.safetensors.
"""

import contextlib
import copy
import json
import random
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["adamergex"]):
    from adamergex.checkpoint import open_checkpoint
    from adamergex.errors import InputError
    from adamergex.merging import merge

FOLDER = Path(tempfile.mkdtemp(prefix="fuzz-checkpoint-"))
FILES = {"adapter_config.json", "adapter_model.safetensors"}


def one_input(data: bytes) -> None:
    """Raises whatever is not an InputError; also where anything was written."""
    end = 2 + int.from_bytes(data[:2], "little")
    (FOLDER / "adapter_config.json").write_bytes(data[2:end])
    (FOLDER / "adapter_model.safetensors").write_bytes(data[end:])
    with contextlib.suppress(InputError):
        checkpoint = open_checkpoint(FOLDER)
        for name in checkpoint.tensors:
            checkpoint.read(name)
        checkpoint.config.written()
        merge(task=FOLDER, reference_target=FOLDER, reference_source=FOLDER)
    assert {path.name for path in FOLDER.iterdir()} == FILES, "something was written"


ODD = (
    None, True, 0, 1, -1, 2**63, 1e308, float("nan"), "", "q", "LORA", "IA3", "F32", "BF16", "I8",
    [], {}, [0, 8], [1, 2], [2, 1], ["q"], {"q": 1}, {"(a+)+": 1}, {".*": 2.5}, [[[[]]]], "../x",
)  # fmt: skip
FIELDS = (
    "r", "lora_alpha", "use_dora", "use_rslora", "lora_bias", "bias", "rank_pattern", "peft_type",
    "alpha_pattern", "modules_to_save", "task_type", "target_modules", "num_layers", "auto_mapping",
)  # fmt: skip
TENSORS = (
    "q.lora_A.weight", "q.lora_B.weight", "q.lora_B.bias", "q.bias", "score.weight", "k.ia3_l",
    "q.lora_magnitude_vector", "prompt_embeddings", "__metadata__",
    "_orig_mod.q.lora_A.weight", "module.base_model.model.q.lora_A.weight", "q.lora_A.x.weight",
    "score.modules_to_save.x.weight", "score.original_module.weight", "lm_head.weight", "k.ia3_l.x",
    "prompt_encoder.x.embedding.weight", "base_model.model.base_model.model.q.lora_A.weight",
    "dtype", "shape", "data_offsets",
)  # fmt: skip


def changed(data: bytes, most: int, seed: int) -> bytes:
    """Half the time other JSON at some place of the config or the header, else other bytes."""
    draw = random.Random(seed)
    end = 2 + int.from_bytes(data[:2], "little")
    start = end + 8
    stop = start + int.from_bytes(data[end:start], "little")
    try:
        config, header = json.loads(data[2:end]), json.loads(data[start:stop])
    except (ValueError, RecursionError):
        return atheris.Mutate(data, most)
    if draw.random() < 0.3:
        return atheris.Mutate(data, most)
    odd = copy.deepcopy(draw.choice(ODD))
    place, fields = draw.choice(((config, FIELDS), (header, TENSORS)))
    while isinstance(place, dict | list) and place:
        key = draw.choice(list(place) if isinstance(place, dict) else range(len(place)))
        if isinstance(place, dict) and draw.random() < 0.3:
            place[draw.choice(fields)] = place.pop(key) if draw.random() < 0.7 else odd
            break
        if not isinstance(place[key], dict | list) or draw.random() < 0.2:
            place[key] = odd
            break
        place = place[key]
    texts = [json.dumps(part).encode() for part in (config, header)]
    lengths = [len(texts[0]).to_bytes(2, "little"), len(texts[1]).to_bytes(8, "little")]
    return (lengths[0] + texts[0] + lengths[1] + texts[1] + data[stop:])[:most]


atheris.Setup(sys.argv, one_input, custom_mutator=changed)
atheris.Fuzz()
