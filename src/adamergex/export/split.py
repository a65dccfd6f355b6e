"""T and the divergence as two adapters: a server that scales adapters can then try any t."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from adamergex.checkpoint import CONFIG_FILE, check_output, staged
from adamergex.errors import InputError
from adamergex.merging import combine

__all__ = ["DIVERGENCE", "TASK", "export_split"]

TASK, DIVERGENCE = "task", "divergence"


def export_split(
    task: str,
    reference_target: str,
    reference_source: str,
    output: Path,
    *,
    overwrite: bool = False,
    **options: Any,
) -> dict[str, Any]:
    """Writes output/task, T, and output/divergence, Rt - Rs: T + t (Rt - Rs) for any t.

    One T serves every target language, and each has a divergence of its own.

    Args:
        task: T.
        reference_target: Rt.
        reference_source: Rs.
        output: The folder to make.
        overwrite: Whether what an earlier export left there may be replaced.
        options: dtype, allow_pickle, allow_different_base, base_model: as for merging.combine.

    Raises:
        InputError: Adapters that do not fit together; another structure than plain LoRA: only its
            changes add up on a server.
    """
    references = [reference_target, reference_source]
    combine([task, *references], [1.0, 0.0, 0.0], **options)  # whether T fits with them
    made = {
        TASK: combine([task], [1.0], **options),
        DIVERGENCE: combine(references, [1.0, -1.0], **options),
    }
    structure = made[TASK].summary["structure"]
    if structure != "LORA":
        raise InputError(task, found=structure, needed="LORA, whose changes add up on a server")
    inputs = [c.folder for one in made.values() for c in one.roles.values()]
    check_output(output, overwrite=overwrite, inputs=inputs, has=f"{TASK}/{CONFIG_FILE}")
    with staged(output) as folder:
        for name, one in made.items():
            one.save(folder / name)
    return {name: one.summary for name, one in made.items()}
