"""What is said of how a base model is loaded, under transformers' names."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import StringConstraints

from adamergex.recipe.training import Section

__all__ = ["ModelKwargs", "PlacedModelKwargs"]


_Device = Annotated[str, StringConstraints(pattern=r"^(cpu|mps|(cuda|xpu)(:\d+)?)$")]


class ModelKwargs(Section):
    """How a base model is loaded: what a recipe says of it.

    Attributes:
        dtype: The type of its weights and of what it computes with them.
        attn_implementation: As transformers takes it; by default what transformers chooses.
        quantization: `nf4`, 4 bits, or `int8`, by bitsandbytes: the weights of linear layers;
            `dtype` is that of all others and of products.
    """

    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    attn_implementation: (
        Literal["eager", "sdpa", "flash_attention_2", "flash_attention_3", "flex_attention"] | None
    ) = None
    quantization: Literal["nf4", "int8"] | None = None

    @property
    def plain(self) -> bool:
        """Whether weights are in float32: then they can be changed, and lose nothing by it."""
        return self.dtype == "float32" and self.quantization is None

    def given(self) -> dict[str, Any]:
        """What is not as it is by default, and changes results."""
        return self.model_dump(include=set(ModelKwargs.model_fields), exclude_defaults=True)


class PlacedModelKwargs(ModelKwargs):
    """How a base model is loaded, where the caller also says on which device.

    Attributes:
        device_map: The one device that the model is on; by default a GPU if there is one.
    """

    device_map: _Device | None = None
