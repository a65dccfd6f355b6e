"""The model card, README.md: what an adapter is, how it was made, and how to use it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from adamergex.checkpoint.base import hub_base
from adamergex.checkpoint.serving import serving_rank
from adamergex.errors import printable

__all__ = ["CARD_FILE", "Story", "card", "front_matter", "plain_text"]

CARD_FILE = "README.md"

_FROM_BUILTIN = """
It was trained on Gemma-3-270M as `adamergex[demo]` brings it: the weights of google/gemma-3-270m,
quantised to Q4_K_M and dequantised again. On the original weights its scores may be a little
different.
"""
_CLASSES = {"CAUSAL_LM": "AutoModelForCausalLM", "SEQ_2_SEQ_LM": "AutoModelForSeq2SeqLM"}


@dataclass(frozen=True)
class Story:
    """What an experiment knows of an adapter, beside how it was made.

    Attributes:
        title: The card's heading.
        front: What its front matter says on top.
        text: Markdown that comes first.
        names: Role -> what that input is.
    """

    title: str = "Merged adapter"
    front: Mapping[str, Any] = field(default_factory=dict[str, Any])
    text: str = ""
    names: Mapping[str, str] = field(default_factory=dict[str, str])


def card(manifest: Mapping[str, Any], config: Mapping[str, Any], story: Story | None = None) -> str:
    """The text of the model card, README.md, of an adapter.

    Args:
        manifest: What merge_manifest.json says, `obstacles` included. Of an adapter that was not
            merged it has no `inputs`.
        config: What adapter_config.json says.
        story: What else is known.
    """
    story = story or Story()
    base = hub_base(config.get("base_model_name_or_path"))
    front = {
        **({"base_model": base, "base_model_relation": "adapter"} if base else {}),
        "library_name": "peft",
        "tags": [
            "adamergex",
            "adapter-merging",
            "cross-lingual",
            str(manifest["structure"]).lower(),
        ],
        **story.front,
    }
    made = _made(manifest, story.names) if manifest.get("inputs") else ""
    builtin = _FROM_BUILTIN if manifest.get("builtin") else ""
    text = "\n".join(part for part in (story.text, builtin, made) if part)
    return f"""{front_matter(front)}
# {plain_text(story.title)}

{text.strip()}

## Use

{_peft(base, config)}
{_serving(manifest, base)}"""


def front_matter(fields: Mapping[str, Any]) -> str:
    """The YAML that a card begins with.

    JSON is YAML: quoting it this way keeps an odd name from becoming another key.
    """
    lines = (f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in fields.items())
    yaml = "\n".join(lines)
    return f"---\n{yaml}\n---\n"


def plain_text(name: str) -> str:
    """`name`, a folder's, without what would be markup in a Markdown table or in HTML."""
    return re.sub(r"[^\w ./+,():;%=±-]", "?", name)


def _made(manifest: Mapping[str, Any], names: Mapping[str, str]) -> str:
    inputs = "\n".join(
        f"| {plain_text(role.replace('_', ' '))} | {_named(names.get(role), made['name'])} "
        f"| `{made['sha256']['weights'][:16]}` |"
        for role, made in manifest["inputs"].items()
    )
    scale = manifest.get("scale")
    at = "" if scale is None else f", at scale t = {scale:g}"
    space = "" if scale is None else f", space {manifest['space']}, scale {scale:g}"
    return f"""
Made from {len(manifest["inputs"])} adapters, without training{at}
by adamergex {manifest["versions"]["adamergex"]}:

    {printable(manifest["formula"])}

| input | name | SHA-256 of its weights |
| --- | --- | --- |
{inputs}

Structure {manifest["structure"]}{space}, stored in {manifest["dtype"]}.
`merge_manifest.json` has every detail."""


def _named(name: str | None, folder: str) -> str:
    return plain_text(name) if name else f"`{plain_text(folder)}`"


def _peft(base: str | None, config: Mapping[str, Any]) -> str:
    """How PEFT loads it: a program that runs as it stands, in the adapter's folder."""
    cls = _CLASSES.get(str(config.get("task_type")), "AutoModel")
    place = (
        f"BASE = {json.dumps(base)}"
        if base
        else 'BASE = "path/to/the/base/model"  # it has no name on the Hub: put its folder here'
    )
    revision = config.get("revision") if base else None
    at = f", revision={json.dumps(revision)}" if revision else ""
    ask = (
        "found = model.generate(**prompt, max_new_tokens=20)\n"
        "print(tokenizer.decode(found[0], skip_special_tokens=True))"
        if cls in _CLASSES.values()
        else "print(model(**prompt))"
    )
    return f"""```python
from peft import PeftModel
from transformers import {cls}, AutoTokenizer

{place}
ADAPTER = "."  # this folder, or its name on the Hub

tokenizer = AutoTokenizer.from_pretrained(BASE{at})
model = PeftModel.from_pretrained({cls}.from_pretrained(BASE{at}), ADAPTER)
prompt = tokenizer("Hello", return_tensors="pt")
{ask}
```
"""


def _serving(manifest: Mapping[str, Any], base: str | None) -> str:
    against: Mapping[str, str | None] = manifest["obstacles"]
    if None not in against.values():
        reasons = set(against.values())
        named = (f"{server}: {reason}" for server, reason in against.items())
        why = "; ".join(map(str, reasons if len(reasons) == 1 else named))
        return f"""
Servers that load plain LoRA only cannot serve it as an adapter: {printable(why)}.
`adamergex export . --to merged --output merged` folds it into the base model, which they serve.
"""
    rank = manifest["rank"]
    allowed = serving_rank(rank)
    parts = [f"\nIts rank is {rank} in every module. On servers:\n"]
    if against["vLLM"]:
        parts.append(f"- vLLM: {printable(against['vLLM'])}\n")
    elif allowed is None:
        parts.append(
            "- vLLM: its rank is too large: "
            "`adamergex export . --to merged --output merged` folds it into the base model\n"
        )
    else:
        name = base or "path/to/the/base/model"
        parts.append(f"""- vLLM, which then serves it as the model `adapter`:

```sh
vllm serve {name} --enable-lora --max-lora-rank {allowed} --lora-modules adapter=.
```
""")
    if against["llama.cpp"]:
        parts.append(f"- llama.cpp: {printable(against['llama.cpp'])}\n")
    else:
        parts.append("""- llama.cpp and Ollama:

```sh
git clone --depth 1 https://github.com/ggml-org/llama.cpp
adamergex export . --to gguf --llama-cpp llama.cpp --output gguf
llama-server --model gguf/base.gguf --lora gguf/adapter.gguf
ollama create adapter --file gguf/Modelfile
```
""")
    return "\n".join(parts)
