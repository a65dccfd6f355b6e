"""What can be tried: adapters that t moves, found in the folders that the user named."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from adamergex.checkpoint import CONFIG_FILE, open_checkpoint
from adamergex.errors import InputError
from adamergex.export import base_name
from adamergex.export.split import DIVERGENCE, TASK
from adamergex.merging import Merged, combine, merge
from adamergex.plain import parsed_json, text_of
from adamergex.run.store import read_record

__all__ = ["Entry", "entries"]

_RESULTS = "results.json"
_LARGEST = 256 * 2**20
_ROLES = ("task", "reference_target", "reference_source")


@dataclass(frozen=True)
class Entry:
    """Adapters of which every t makes one.

    Attributes:
        name: For people.
        model: The base model, see models.backbone.
        folders: T, Rt and Rs; or T and Rt - Rs; or one adapter, which is multiplied by t.
        options: How three are merged, see merging.merge.
        scale: The t to begin with.
        prompt: A prompt of the task, if one is known.
        choices: Its answers, each as it continues the prompt.
        how: `model_kwargs` and `chat` of the run, as JSON; see score.scored.
    """

    name: str
    model: str
    folders: tuple[Path, ...]
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])
    scale: float = 1.0
    prompt: str = ""
    choices: tuple[str, ...] = ()
    how: str = "{}"

    @property
    def task(self) -> Path | None:
        """T, where it is known by itself."""
        return self.folders[0] if len(self.folders) > 1 else None

    def merged(self, t: float) -> Merged:
        """The adapter at t, of which nothing is computed yet; in float32, so as not to round.

        Raises:
            InputError: Adapters that do not fit together, or have no such sum.
        """
        if len(self.folders) == len(_ROLES):
            roles = dict(zip(_ROLES, self.folders, strict=True))
            return merge(**roles, scale=t, dtype="float32", **self.options)
        weights = [1.0, t] if self.task else [t]
        return combine(self.folders, weights, dtype="float32")

    def at(self, t: float, stage: Path) -> Path:
        """The folder of the adapter at t, made in the empty folder `stage` where there is none."""
        if len(self.folders) == 1 and t == 1:
            return self.folders[0]  # whatever its structure is
        self.merged(t).save(stage / "adapter")
        return stage / "adapter"


def entries(place: str, model: str | None = None, store: Path | None = None) -> list[Entry]:
    """What is in a folder: the adapters of a run, what `export --to split` made, or one adapter.

    Args:
        place: The folder; one adapter may also be a Hub id.
        model: The base model; by default what the adapters name.
        store: Where a run's finished steps are; by default in its folder.

    Raises:
        InputError: None of these; a run of which there is nothing to try, or whose steps are gone.
    """
    folder = Path(place)
    if (folder / _RESULTS).is_file():
        return list(_of_run(folder, model, store or folder / "steps"))
    parts = (folder / TASK, folder / DIVERGENCE)
    if not all((part / CONFIG_FILE).is_file() for part in parts):
        parts = (open_checkpoint(place).folder,)
    return [Entry(folder.resolve().name, model or base_name(parts[0]), parts)]


def _of_run(folder: Path, model: str | None, store: Path) -> Iterator[Entry]:
    """Each way in which a run merged for each task and target language; what it chose is first."""
    path = folder / _RESULTS
    results = parsed_json(text_of(path, _LARGEST, "a run's results"), path)
    if not results.get("adapters"):
        needed = "a run of adamergex, or its recipe run once more: what is finished is not redone"
        raise InputError(path, "adapters", found="none", needed=needed)
    for name, made in results["adapters"].items():
        for way in made["merges"]:
            steps = [way["inputs"][role] for role in _ROLES]
            for step in (*steps, made["test"]):
                if Path(step).name != step or not (store / step).is_dir():
                    needed = "a finished step: --store says where they are"
                    raise InputError(store, step, found="no such step", needed=needed)
            parts = tuple(store / step / "adapter" for step in steps)
            base = model or base_name(parts[0])
            known = read_record(store / made["test"]).get("example", {})
            example = known.get("prompt", ""), tuple(known.get("choices", ()))
            how = json.dumps(made["how"])
            title = f"{name}: {way['name']}"
            yield Entry(title, base, parts, way["options"], way["scale"], *example, how)
