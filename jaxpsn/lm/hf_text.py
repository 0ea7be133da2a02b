"""The small files of a Hugging Face folder that tell how text becomes tokens."""

from pathlib import Path
from typing import Any

from jaxpsn.errors import UserError
from jaxpsn.lm.hf_config import read_json


def one_line(error: Exception) -> str:
    """What went wrong, on one line of bounded length."""
    return " ".join(str(error).split())[:200] or type(error).__name__


def read(folder: Path, name: str) -> dict[str, Any]:
    """The object in ``folder/name``; empty if there is no such file. Refuses anything but a JSON object."""
    path = folder / name
    return read_json(path) if path.is_file() else {}


def special_tokens(folder: Path, own: dict[str, Any]) -> dict[str, str]:
    """Special tokens by name (``eos_token``, ...), from ``tokenizer_config.json`` and ``special_tokens_map.json``."""
    found = {}
    for table in (read(folder, "special_tokens_map.json"), own):
        for name, token in table.items():
            text = token.get("content") if isinstance(token, dict) else token
            if name.endswith("_token") and isinstance(text, str):
                found[name] = text
    return found


def chat_template(folder: Path, own: dict[str, Any]) -> tuple[str, str] | None:
    """The folder's chat template and the file it stands in; None if it has none.

    Of several named templates it is the one called ``default``.
    """
    path = folder / "chat_template.jinja"
    if path.is_file():
        try:
            return path.read_text("utf-8"), str(path)
        except (OSError, ValueError) as error:
            raise UserError(f"{path}: not a text file ({one_line(error)})") from None
    found, place = own.get("chat_template"), folder / "tokenizer_config.json"
    if isinstance(found, list):
        named = {one.get("name"): one.get("template") for one in found if isinstance(one, dict)}
        found = named.get("default")
        if found is None:
            raise UserError(f"{place}: no chat template named default among {sorted(map(str, named))}")
    if found is not None and not isinstance(found, str):
        raise UserError(f"{place}: chat_template is not text")
    return None if found is None else (found, str(place))
