"""What a model's chat template is told, and what ends an answer; imports no JAX."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from jaxpsn.core import errors
from jaxpsn.lm.templates import clock as clocks

_MOST = 64


@dataclass(frozen=True)
class TemplateConfig:
    """A model's chat template: its switches, the time that it is told, and further ends of an answer."""

    variables: dict[str, str] = field(default_factory=dict)
    """Variables that the template reads, such as enable_thinking false; values are JSON, else text."""
    clock: str | None = None
    """Time that it is told, like 2026-01-31T12:30:00+00:00; left out, that of the start, which is recorded."""
    ends: tuple[str, ...] = ()
    """Further tokens that end an answer, such as '<|im_end|>', beside those that model and template name."""

    def __post_init__(self) -> None:
        if self.clock is not None:
            clocks.parse("template.clock", self.clock)
        if len(self.variables) > _MOST or len(self.ends) > _MOST:
            errors.refuse("template", f"{len(self.variables)} variables, {len(self.ends)} ends", f"at most {_MOST}")

    def over(self, other: "TemplateConfig") -> "TemplateConfig":
        """What is asked for here, where nothing is as in ``other``."""
        return TemplateConfig(other.variables | self.variables, self.clock or other.clock, self.ends or other.ends)

    def at(self, clock: str | None) -> "TemplateConfig":
        """The same with the time that the template was told."""
        return replace(self, clock=clock)

    def options(self) -> Mapping[str, Any]:
        """The arguments of ``lm.hf_tokenizer.HubTokenizer``."""
        return {"variables": self.variables, "clock": self.clock, "ends": self.ends}

    def refuse(self, system: str | None, allowed: str) -> None:
        """Refuse, by name, what is asked of a chat template, its ``system`` message included, where there is none."""
        asked = {"system": system} | {f"template.{name}": value or None for name, value in self.options().items()}
        for name, value in asked.items():
            if value is not None:
                errors.refuse(name, value, allowed)
