"""`adapter_config.json`, read through an allow-list.

Every field is either understood (typed below), harmless (it does not change what the adapter
computes once trained), or switched off. Anything else is refused by name: a variant of LoRA that
this version does not know would otherwise be merged by the wrong formula without a word.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar, cast

from adamergex.checkpoint.base import known_base
from adamergex.checkpoint.fields import BY_PATTERN, KINDS
from adamergex.checkpoint.patterns import checked_pattern, matches
from adamergex.errors import InputError
from adamergex.plain import check_downloaded, parsed_json, text_of

__all__ = ["CONFIG_FILE", "AdapterConfig", "Ia3Config", "LoraConfig", "PrefixConfig", "read_config"]

CONFIG_FILE = "adapter_config.json"
_LARGEST = 4 * 2**20
"""Bytes: a rank and an alpha by name for each of ten thousand modules would fit."""

_HARMLESS = frozenset(
    # Where the adapter was attached, how it was initialised or trained, and what wrote it. The
    # tensors themselves say which modules were trained.
    [
        "auto_mapping",
        "corda_config",
        "encoder_hidden_size",
        "eva_config",
        "exclude_modules",
        "inference_mode",
        "init_ia3_weights",
        "init_weights",
        "layers_pattern",
        "layers_to_transform",
        "lora_dropout",
        "lora_ga_config",
        "megatron_core",
        "peft_version",
        "prefix_projection",
        "qalora_group_size",
        "runtime_config",
        "num_attention_heads",
        "num_transformer_submodules",
        "token_dim",
    ]
)
_WRITTEN = frozenset(
    # What a merged adapter takes over from the task adapter, if it is there.
    [
        "base_model_name_or_path",
        "bias",
        "encoder_hidden_size",
        "exclude_modules",
        "fan_in_fan_out",
        "feedforward_modules",
        "layers_pattern",
        "layers_to_transform",
        "lora_bias",
        "lora_dropout",
        "modules_to_save",
        "num_attention_heads",
        "num_layers",
        "num_transformer_submodules",
        "num_virtual_tokens",
        "peft_type",
        "revision",
        "target_modules",
        "task_type",
        "token_dim",
        "use_dora",
    ]
)
_TASK_HEADS: Mapping[str | None, tuple[str, ...]] = {
    # PEFT saves these heads beside the adapter; older versions do not list them in the config.
    "SEQ_CLS": ("classifier", "score"),
    "TOKEN_CLS": ("classifier", "score"),
    "QUESTION_ANS": ("qa_outputs",),
}


@dataclass(frozen=True, kw_only=True)
class AdapterConfig:
    """What every PEFT adapter says of itself.

    Attributes:
        stated: All that the file says.
        peft_type: LORA, IA3 or PREFIX_TUNING.
        base_model_name_or_path: The model it was trained on, as others know it; None where unknown.
        revision: The revision of that model.
        task_type: PEFT's task type, CAUSAL_LM for instance.
        modules_to_save: Modules trained and saved whole beside the adapter, a task head for one.
        target_modules: The modules it is attached to, as names or as a regular expression.
    """

    stated: Mapping[str, Any] = field(repr=False)
    peft_type: str
    base_model_name_or_path: str | None = None
    revision: str | None = None
    task_type: str | None = None
    modules_to_save: list[str] | None = None
    target_modules: list[str] | str | None = None

    @property
    def saved_whole(self) -> tuple[str, ...]:
        """Names of modules whose full weights may stand beside the adapter's."""
        return (*(self.modules_to_save or ()), *_TASK_HEADS.get(self.task_type, ()))

    def written(self, **changes: object) -> dict[str, object]:
        """The fields of a merged adapter's config: those of this one that still hold, changed."""
        own = {k: v for k, v in self.stated.items() if k in _WRITTEN}
        if "base_model_name_or_path" in own:
            own["base_model_name_or_path"] = self.base_model_name_or_path
        return dict(sorted({**own, "inference_mode": True, **changes}.items()))


@dataclass(frozen=True, kw_only=True)
class LoraConfig(AdapterConfig):
    """LoRA, rsLoRA and DoRA.

    Attributes:
        r: Rank, where `rank_pattern` gives no other.
        lora_alpha: Numerator of the scaling, where `alpha_pattern` gives no other.
        use_rslora: Whether the scaling is alpha/sqrt(r) rather than alpha/r.
        use_dora: Whether the weight's norms are trained apart (DoRA).
        lora_bias: Whether lora_B has a bias.
        bias: Which biases of the base model were trained.
        fan_in_fan_out: Whether the base weight is stored (in, out).
    """

    r: int = 8
    lora_alpha: float = 8
    use_rslora: bool = False
    use_dora: bool = False
    lora_bias: bool = False
    bias: str = "none"
    fan_in_fan_out: bool = False
    rank_pattern: dict[str, int] | None = None
    alpha_pattern: dict[str, float] | None = None
    init_lora_weights: str | bool | None = True

    @property
    def patterns(self) -> tuple[str, ...]:
        """Those of ranks and of alphas."""
        return (*(self.rank_pattern or ()), *(self.alpha_pattern or ()))

    def rank(self, module: str) -> int:
        """R of one module, by PEFT's rule: that of the first pattern that ends its name."""
        return _of_pattern(self.rank_pattern, module, self.r)

    def scaling(self, module: str) -> float:
        """What one module's B A is multiplied by: alpha/r, or alpha/sqrt(r) under rsLoRA."""
        alpha, r = _of_pattern(self.alpha_pattern, module, self.lora_alpha), self.rank(module)
        return alpha / (math.sqrt(r) if self.use_rslora else r)


_Number = TypeVar("_Number", int, float)


def _of_pattern(patterns: Mapping[str, _Number] | None, module: str, default: _Number) -> _Number:
    for pattern, value in (patterns or {}).items():
        if matches(pattern, module):
            return value
    return default


@dataclass(frozen=True, kw_only=True)
class Ia3Config(AdapterConfig):
    """(IA)³: learned factors on activations."""

    feedforward_modules: list[str] | str | None = None
    fan_in_fan_out: bool = False


@dataclass(frozen=True, kw_only=True)
class PrefixConfig(AdapterConfig):
    """Prefix tuning: learned keys and values before the text.

    Attributes:
        num_virtual_tokens: Rows of the prefix.
        num_layers: Layers of the model; the saved tensor has 2 x num_layers blocks of columns.
    """

    num_virtual_tokens: int
    num_layers: int


_CLASSES: Mapping[str, type[AdapterConfig]] = {
    "LORA": LoraConfig,
    "IA3": Ia3Config,
    "PREFIX_TUNING": PrefixConfig,
}


def read_config(path: Path) -> AdapterConfig:
    """The config at `path`, validated.

    Raises:
        InputError: No such file, not JSON, a PEFT type or a field that adamergex does not handle,
            or a field of the wrong type.
    """
    raw = _read_json(path)
    peft_type = raw.get("peft_type")
    cls = _CLASSES.get(peft_type) if isinstance(peft_type, str) else None
    if cls is None:
        raise InputError(path, "peft_type", found=peft_type, needed=" or ".join(_CLASSES))
    own = {each.name: each.default for each in fields(cls) if each.name in KINDS}
    for name, default in own.items():
        if name not in raw and default is MISSING:
            raise InputError(path, name, found="nothing", needed=KINDS[name].needed)
        if name in raw and not KINDS[name].fits(raw[name]):
            raise InputError(path, name, found=raw[name], needed=KINDS[name].needed)
    for name, value in raw.items():
        # Empty means off: null, false, {} and []. Zero would be a number with a meaning.
        off = value is None or value is False or value in ({}, [], "")
        if not off and name not in own and name not in _HARMLESS:
            needed = "it switched off: adamergex does not know what it does to the adapter"
            raise InputError(path, name, found=value, needed=needed)
    given = {name: raw[name] for name in own if name in raw}
    given["base_model_name_or_path"] = known_base(given.get("base_model_name_or_path"))
    config = cls(stated=raw, **given)
    for name in (each for each in BY_PATTERN if each in own):
        _check_patterns(path, name, getattr(config, name) or {})
    return config


def _check_patterns(path: Path, name: str, patterns: Mapping[str, Any]) -> None:
    for pattern, value in patterns.items():
        try:
            checked_pattern(pattern)
        except ValueError as error:
            raise InputError(path, name, found=pattern, needed=error) from None
        if not BY_PATTERN[name].fits(value):
            raise InputError(path, name, pattern, found=value, needed=BY_PATTERN[name].needed)


def _read_json(path: Path) -> dict[str, Any]:
    text = text_of(path, _LARGEST, "a PEFT adapter's config")
    check_downloaded(text.encode(), "JSON", path)
    raw = parsed_json(text, path)
    if not isinstance(raw, dict):
        raise InputError(path, found=type(raw).__name__, needed="a JSON object")
    return cast(dict[str, Any], raw)
