"""A model by the name that it has on the Hugging Face hub, downloaded where ``huggingface_hub`` is installed."""

import importlib
from pathlib import Path

from jaxpsn.core.errors import refuse

_WANTED = ("*.json", "*.jinja", "*.safetensors", "merges.txt", "vocab.txt", "tokenizer.model")


def fetch(field: str, name: str) -> Path:
    """The folder with the files of ``name`` (``OWNER/NAME``) that are read, the value of ``field``; kept in its cache.

    Raises UserError, in one line with what to do, where the package is missing or the hub is out of reach, and for a
    model that is not there or is kept from the user.
    """
    by_hand = f"hf download {name} --local-dir DIR fetches one"
    allowed = "a Hugging Face folder; there is none of that name here, nor in the hub's cache"
    try:
        hub = importlib.import_module("huggingface_hub")
    except ImportError:
        refuse(field, name, f"{allowed}; pip install huggingface_hub lets it be downloaded, or {by_hand}")
    try:
        return Path(hub.snapshot_download(name, allow_patterns=list(_WANTED)))
    # The hub's own errors, those of three HTTP libraries, and those of the disk.
    except Exception as error:
        why = " ".join(str(error).split())[:120].rstrip(" .") or type(error).__name__
        refuse(field, name, f"{allowed}, and it was not downloaded ({why}); {by_hand}")
