"""Parameter-space noise in JAX: the noise heart, off-policy control, and what they stand on.

What is exported is imported when it is first used: ``from jaxpsn import noise`` loads neither Brax nor matplotlib.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jaxpsn import noise as noise
    from jaxpsn.api.evaluating import evaluate as evaluate
    from jaxpsn.api.functions import make as make
    from jaxpsn.api.loading import load as load
    from jaxpsn.api.reasoning import reason as reason
    from jaxpsn.api.studies import compare as compare
    from jaxpsn.api.training import train as train
    from jaxpsn.core.errors import UserError as UserError

__version__ = "0.1.0"

_HOMES = {
    "UserError": "core.errors",
    "compare": "api.studies",
    "evaluate": "api.evaluating",
    "load": "api.loading",
    "make": "api.functions",
    "reason": "api.reasoning",
    "train": "api.training",
}

__all__ = ["UserError", "__version__", "compare", "evaluate", "load", "make", "noise", "reason", "train"]


if not TYPE_CHECKING:  # what is not exported is no name of this module

    def __getattr__(name: str) -> Any:
        if name in _HOMES:
            found = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
        elif name == "noise":
            found = importlib.import_module(f"{__name__}.noise")
        else:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        globals()[name] = found
        return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
