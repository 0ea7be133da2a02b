"""Families of decoders by the ``model_type`` of their Hugging Face folders: what one says differently from another.

All of them are computed by one decoder (:class:`jaxpsn.lm.config.DecoderConfig`); a family reads and writes the entries
of ``config.json`` that say which of its parts are there. One of your own, in one file::

    @MODELS.register("mistral")
    @dataclass(frozen=True)
    class Mistral(ModelFamily):
        architecture = "MistralForCausalLM"
        windows = True
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from jaxpsn.core.components import Component
from jaxpsn.core.errors import UserError
from jaxpsn.core.families import Family


class ModelFamily(Component):
    """What the ``config.json`` of one ``model_type`` says; by default no biases, and no norms of heads."""

    architecture: ClassVar[str]
    """The one entry of ``architectures``."""
    windows: ClassVar[bool] = False
    """Whether ``use_sliding_window`` is looked at, and refused where it is in use."""
    kv_heads_required: ClassVar[bool] = True
    """Whether ``num_key_value_heads`` may not be left out."""
    head_dim: ClassVar[int | None] = None
    """The ``head_dim`` of a file that leaves it out; None: hidden_size over heads."""

    def read(self, source: Any) -> Mapping[str, bool]:
        """Which of ``qkv_bias``, ``o_bias``, ``mlp_bias`` and ``qk_norm`` there are; others are not.

        ``source`` (``hf_config.Source``) has ``flag(key)`` for an entry that is true or false.
        """
        return {}

    def fits(self, config: Any) -> bool:
        """Whether the family's code computes the parts of a :class:`DecoderConfig`."""
        return not (config.qkv_bias or config.o_bias or config.mlp_bias or config.qk_norm)

    def write(self, config: Any) -> Mapping[str, Any]:
        """The entries of ``config.json`` that this family has beside those of all."""
        return {"use_sliding_window": False, "sliding_window": None} if self.windows else {}


MODELS: Family[ModelFamily] = Family("model", ModelFamily, doc="What the config.json of a kind of decoder says.")


@MODELS.register("llama")
@dataclass(frozen=True)
class Llama(ModelFamily):
    """Llama 2 and 3: biases where ``attention_bias`` and ``mlp_bias`` say so."""

    architecture = "LlamaForCausalLM"
    kv_heads_required = False

    def read(self, source: Any) -> Mapping[str, bool]:
        bias = source.flag("attention_bias")
        return {"qkv_bias": bias, "o_bias": bias, "mlp_bias": source.flag("mlp_bias")}

    def fits(self, config: Any) -> bool:
        if config.hidden_size % config.num_heads:
            allowed = f"Llama wants a divisor of hidden_size = {config.hidden_size}"
            raise UserError(f"num_heads = {config.num_heads}: {allowed}")
        return config.qkv_bias == config.o_bias and not config.qk_norm

    def write(self, config: Any) -> Mapping[str, Any]:
        return {"attention_bias": config.qkv_bias, "mlp_bias": config.mlp_bias}


@MODELS.register("qwen2")
@dataclass(frozen=True)
class Qwen2(ModelFamily):
    """Qwen2 and Qwen2.5: biases of queries, keys and values, and of nothing else."""

    architecture = "Qwen2ForCausalLM"
    windows = True

    def read(self, source: Any) -> Mapping[str, bool]:
        return {"qkv_bias": True}

    def fits(self, config: Any) -> bool:
        return config.qkv_bias and not (config.o_bias or config.mlp_bias or config.qk_norm)


@MODELS.register("qwen3")
@dataclass(frozen=True)
class Qwen3(ModelFamily):
    """Qwen3: norms of queries and keys, biases where ``attention_bias`` says so."""

    architecture = "Qwen3ForCausalLM"
    windows = True
    head_dim = 128

    def read(self, source: Any) -> Mapping[str, bool]:
        bias = source.flag("attention_bias")
        return {"qkv_bias": bias, "o_bias": bias, "qk_norm": True}

    def fits(self, config: Any) -> bool:
        return config.qkv_bias == config.o_bias and config.qk_norm and not config.mlp_bias

    def write(self, config: Any) -> Mapping[str, Any]:
        return {"use_sliding_window": False, "sliding_window": None, "attention_bias": config.qkv_bias}
