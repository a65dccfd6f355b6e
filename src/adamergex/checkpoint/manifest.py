"""`merge_manifest.json` and the model card: how a merged adapter came to be, and how to use it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy
import safetensors

from adamergex.checkpoint.serving import serving_rank
from adamergex.errors import printable
from adamergex.version import __version__

__all__ = ["CARD_FILE", "MANIFEST_FILE", "card", "versions"]

MANIFEST_FILE = "merge_manifest.json"
CARD_FILE = "README.md"


def versions() -> dict[str, str]:
    """The versions of the packages that computed the numbers."""
    # importlib.metadata would take as long to load as all that is here.
    packages: list[Any] = [numpy, safetensors]
    return {"adamergex": __version__, **{x.__name__: x.__version__ for x in packages}}


def card(manifest: Mapping[str, Any], config: Mapping[str, Any]) -> str:
    """The text of the model card, README.md, of a merged adapter.

    Args:
        manifest: What merge_manifest.json says, `obstacles` included.
        config: What adapter_config.json says.
    """
    base = config.get("base_model_name_or_path")
    front = {
        **({"base_model": base} if base and not Path(base).is_absolute() else {}),
        "library_name": "peft",
        "tags": [
            "adamergex",
            "adapter-merging",
            "cross-lingual",
            str(manifest["structure"]).lower(),
        ],
    }
    # JSON is YAML: quoting it this way keeps an odd base model name from becoming another key.
    yaml = "\n".join(f"{key}: {json.dumps(value)}" for key, value in front.items())
    inputs = "\n".join(
        f"| {_text(role.replace('_', ' '))} | `{_text(made['name'])}` | `{weights[:16]}` |"
        for role, made in manifest["inputs"].items()
        for weights in [made["sha256"]["weights"]]
    )
    return f"""---
{yaml}
---

# Merged adapter

Made from {len(manifest["inputs"])} adapters, without training, at scale t = {manifest["scale"]:g}
by adamergex {manifest["versions"]["adamergex"]}:

    {printable(manifest["formula"])}

| input | name | SHA-256 of its weights |
| --- | --- | --- |
{inputs}

Structure {manifest["structure"]}, space {manifest["space"]}, scale {manifest["scale"]:g}, stored in
{manifest["dtype"]}. `{MANIFEST_FILE}` has every detail.

## Use

```python
from peft import PeftModel

model = PeftModel.from_pretrained(base_model, "this-folder")
```
{_serving(manifest)}"""


def _text(name: str) -> str:
    """`name`, a folder's, without what would be markup in a Markdown table or in HTML."""
    return re.sub(r"[^\w ./+-]", "?", name)


def _serving(manifest: Mapping[str, Any]) -> str:
    against: Mapping[str, str | None] = manifest["obstacles"]
    if None not in against.values():
        reasons = set(against.values())
        named = (f"{server}: {reason}" for server, reason in against.items())
        why = "; ".join(map(str, reasons if len(reasons) == 1 else named))
        return f"""
Servers that load plain LoRA only cannot serve it as an adapter: {printable(why)}.
"""
    rank = manifest["rank"]
    allowed = serving_rank(rank)
    how = {
        "vLLM": f"`vllm serve ... --enable-lora --max-lora-rank {allowed}`"
        if allowed
        else "merge it first",
        "llama.cpp": "convert it with `convert_lora_to_gguf.py`",
    }
    lines = "\n".join(f"- {name}: {printable(against[name] or how[name])}" for name in how)
    return f"""
Its rank is {rank} in every module and its scaling 1 (alpha == r). On servers:

{lines}
"""
