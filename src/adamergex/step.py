"""A step: the unit of work, of caching and of resuming.

A step is known by its fingerprint: SHA-256 of the canonical JSON of what it does and, by their own
fingerprints, of what it takes. Where and how it runs is not part of it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

__all__ = ["SCHEMA", "Step", "in_order"]

SCHEMA = 1
"""Raised when records or folders change their meaning: old ones are then not used again."""


@dataclass(frozen=True, eq=False)
class Step:
    """One step of a plan.

    Attributes:
        kind: What is done; run.functions has one function for each kind.
        config: With which values: JSON types only.
        inputs: Role -> the step whose folder is read.
        label: For people; not part of the identity.
        version: Of the function; raised when the same config would give another result.
    """

    kind: str
    config: Mapping[str, Any]
    inputs: Mapping[str, Step] = field(default_factory=dict)
    label: str = ""
    version: int = 1

    @cached_property
    def fingerprint(self) -> str:
        """64 hexadecimal digits. Raises TypeError or ValueError for what JSON cannot hold."""
        identity = {
            "schema": SCHEMA,
            "kind": self.kind,
            "version": self.version,
            "config": self.config,
            "inputs": {role: step.fingerprint for role, step in self.inputs.items()},
        }
        text = json.dumps(identity, sort_keys=True, separators=(",", ":"), allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def folder(self) -> str:
        """The name of its folder in a store."""
        return f"{self.kind}-{self.fingerprint[:20]}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Step) and other.fingerprint == self.fingerprint

    def __hash__(self) -> int:
        return hash(self.fingerprint)


def in_order(wanted: Iterable[Step]) -> list[Step]:
    """All steps that `wanted` need, themselves included, each once and after its inputs."""
    found: dict[str, Step] = {}

    def visit(step: Step) -> Iterator[Step]:
        if step.fingerprint not in found:
            for needed in step.inputs.values():
                yield from visit(needed)
            if step.fingerprint not in found:
                found[step.fingerprint] = step
                yield step

    return [step for last in wanted for step in visit(last)]
