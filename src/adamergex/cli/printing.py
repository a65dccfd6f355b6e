"""What `adamergex merge` says; without rich, whose import would be a tenth of a small merge."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from adamergex.checkpoint import serving_rank

__all__ = ["merge_lines"]

Facts = Mapping[str, Any]


def merge_lines(facts: Facts) -> Iterator[str]:
    """What `adamergex merge` says."""
    verb = "merged" if facts["written"] else "would merge"
    rank = f", rank {facts['rank']}" if facts["rank"] else ""
    size = facts["bytes"] / 2**20
    at = f" at scale {facts['scale']:g}" if "scale" in facts else ""
    yield (
        f"{verb} {facts['modules']} modules of {facts['structure']}{at}: "
        f"{facts['space']} space{rank}, {facts['dtype']}, {size:.1f} MiB"
    )
    if facts["rank"]:
        yield from _exactness(facts)
        yield _serving(facts)
    if facts.get("guarded_elements"):
        yield f"{facts['guarded_elements']} elements kept from the task: their source is near zero"
    if facts["renamed"]:
        yield f"tensor names read as PEFT writes them: {_renamed(facts['renamed'])}"
    if facts["kept_from_task"]:
        first = "the first adapter" if facts.get("weights") else "the task adapter"
        yield f"kept whole from {first}: {', '.join(facts['kept_from_task'])}"
    if facts["ignored_in_references"]:
        others = "the others" if facts.get("weights") else "the references"
        yield f"ignored in {others}: {', '.join(facts['ignored_in_references'])}"
    yield (
        str(facts["output"]) if facts["written"] else f"{facts['output']}: not written (--dry-run)"
    )


def _exactness(facts: Facts) -> Iterator[str]:
    """How the result lies to the sum of the weight updates."""
    if facts["space"] == "factor":
        yield "as published: A and B one by one, which is not the sum of the weight updates"
    elif facts["exact"]:
        yield f"exact: the sum of the {_count(facts)} weight updates, nothing cut off"
    elif not facts["cut"]:
        rounded = f"rounded to {facts['dtype']}"
        error = f": relative error {facts['relative_error']:.4f}" if facts["written"] else ""
        yield f"the sum of the {_count(facts)} weight updates, nothing cut off, {rounded}{error}"
    elif facts["written"]:
        rounding = (
            "storing in {0} comes on top" if facts["dtype"] == "float32" else "as stored in {0}"
        )
        yield (
            f"relative error of the approximation {facts['relative_error']:.4f}; "
            f"worst module {facts['worst_module'] or 'none'} {facts['worst_module_error']:.4f}; "
            + rounding.format(facts["dtype"])
        )


def _count(facts: Facts) -> str:
    return str(len(facts["weights"])) if facts.get("weights") else "three"


def _renamed(roles: Mapping[str, list[str]]) -> str:
    """What was done to whose names: the roles of which the same is said stand together."""
    said: dict[str, list[str]] = {}
    for role, changes in roles.items():
        said.setdefault(", ".join(changes), []).append(role.replace("_", " "))
    return "; ".join(f"{', '.join(names)} {how}" for how, names in said.items())


def _serving(facts: Facts) -> str:
    against = facts["obstacles"]
    reasons = "; ".join(f"{server}: {why}" for server, why in against.items() if why)
    if all(against.values()):
        plain = "more than plain LoRA: servers that load only that cannot serve it as an adapter"
        return f"{plain} ({reasons})"
    allowed = serving_rank(facts["rank"])
    vllm = f"vLLM: --max-lora-rank {allowed}" if allowed else "more than vLLM takes: use --rank"
    vllm = f" ({vllm})" if not against["vLLM"] else ""
    return f"a server must allow rank {facts['rank']}{vllm}{'; ' + reasons if reasons else ''}"
