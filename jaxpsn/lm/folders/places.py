"""Where a model lies that a user names, and which of its files count; imports no JAX.

A model is a Hugging Face folder, or a GGUF file, which is read as if it were one (also where it is the only one of the
folder named). A folder may be named itself, by ``~``, as the root of a download in the hub's cache (``models--X--Y``),
or as ``X/Y`` where that was downloaded into the cache before; else it is downloaded, if ``huggingface_hub`` is there.
"""

import os
import re
from pathlib import Path
from typing import Any

from jaxpsn.core import errors, foreign
from jaxpsn.core.foreign import exists, read_json
from jaxpsn.lm.folders import fetching, gguf_file

CONFIG, ADAPTERS = "config.json", "adapter_config.json"
SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
_REPO = re.compile(r"(?![.-])[\w.-]+/(?![.-])[\w.-]+")
_TEXT = (".json", ".jinja")
_OTHER = ("merges.txt", "vocab.txt", "tokenizer.model")


def find(field: str, text: str | Path) -> Path:
    """The folder with the config.json, or the GGUF file, that ``text``, the value of ``field``, means.

    A name on the hub is downloaded where nothing of that name is found. Raises UserError with a hint.
    """
    found = known(field, text)
    if found is not None:
        if exists(found / ADAPTERS):
            unread = f"of its adapters ({ADAPTERS}) nothing is read"
            errors.refuse(field, str(text), f"a whole model; {unread}: merge them first")
        return found
    path = Path(text).expanduser()
    allowed = "a Hugging Face folder; there is no config.json in it"
    if exists(path / ADAPTERS):
        base = read_json(path / ADAPTERS).get("base_model_name_or_path") or "a base that they do not name"
        errors.refuse(field, str(text), f"a whole model; these are adapters of {base}: merge them with it first")
    if path.is_file():
        errors.refuse(field, str(text), f"the folder, not a file, such as {path.parent}; or a .gguf file")
    inside = [entry for entry in _entries(path) if (entry / CONFIG).is_file()]
    if inside:
        allowed += f", but in {inside[0]}" + (f" and {len(inside) - 1} more folders" if len(inside) > 1 else "")
    elif not path.exists() and _REPO.fullmatch(str(text)):
        path = fetching.fetch(field, str(text))
        if (found := known(field, path)) is not None:
            return found
    return errors.refuse(field, str(text), allowed)


def known(field: str, text: str | Path) -> Path | None:
    """The same, None where nothing of that name is found. Raises UserError where the cache has several snapshots."""
    path = Path(text).expanduser()
    # Of a folder, what is no file is told when it is read.
    if exists(path / CONFIG) or gguf_file.is_one(path):
        return path
    if path.is_dir():
        return _snapshot(field, path) or _only_gguf(field, path)
    if _REPO.fullmatch(str(text)):
        for cache in _caches():
            found = _snapshot(field, cache / f"models--{str(text).replace('/', '--')}")
            if found is not None:
                return found
    return None


def _caches() -> list[Path]:
    """Where the hub's own programs keep what they download."""
    named = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE")
    home = os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface"
    return [Path(one).expanduser() for one in (named, Path(home) / "hub") if one]


def _snapshot(field: str, root: Path) -> Path | None:
    """The snapshot of a cached download: that of ``main``, else the only one."""
    root = root.parent if root.name == "snapshots" else root
    main = root / "refs" / "main"
    if main.is_file():
        named = root / "snapshots" / main.read_text(errors="replace").strip()
        if (named / CONFIG).is_file():
            return named
    found = [entry for entry in _entries(root / "snapshots") if (entry / CONFIG).is_file()]
    if len(found) > 1:
        listed = ", ".join(entry.name[:12] for entry in found[:4])
        errors.refuse(field, str(root), f"one of its {len(found)} snapshots ({listed}), as no ref says which is main")
    return found[0] if found else None


def _only_gguf(field: str, folder: Path) -> Path | None:
    found = [entry for entry in _entries(folder) if gguf_file.is_one(entry)]
    if len(found) > 1:
        listed = ", ".join(entry.name for entry in found[:4])
        errors.refuse(field, str(folder), f"one of its {len(found)} GGUF files ({listed})")
    return found[0] if found else None


def text(folder: Path, name: str) -> str | None:
    """The text of the file ``name`` of a model, None if there is none. Raises UserError for what is no text file."""
    if gguf_file.is_one(folder):
        return gguf_file.read(folder).texts.get(name)
    path = folder / name
    return foreign.read_text(path) if exists(path) else None


def entries(folder: Path, name: str) -> dict[str, Any] | None:
    """The object in the file ``name`` of a model, None if there is none. Raises UserError for anything but one."""
    if gguf_file.is_one(folder):
        found = gguf_file.read(folder).texts.get(name)
        return None if found is None else foreign.parse(found, str(folder / name))
    return read_json(folder / name) if exists(folder / name) else None


def name(folder: Path) -> str:
    """What a model is called: its folder or file; of a snapshot in the hub's cache its repository."""
    if folder.suffix == gguf_file.SUFFIX:
        return folder.stem
    root = folder.parent.parent.name
    return root.rpartition("--")[2] if folder.parent.name == "snapshots" and "--" in root else folder.name


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    except OSError:
        return []


def text_files(folder: Path) -> list[Path]:
    """The files of a model from which form, tokens and template are read, its weights aside where they lie apart."""
    if gguf_file.is_one(folder):
        return [folder]
    return [entry for entry in _entries(folder) if (entry.suffix in _TEXT or entry.name in _OTHER) and entry.is_file()]


def tensor_files(folder: Path) -> list[Path]:
    """The safetensors files that are read, none of a GGUF file. Raises UserError for a folder without."""
    return [] if gguf_file.is_one(folder) else [folder / name for name in weight_files(folder)]


def weight_files(folder: Path) -> list[str]:
    """Names of the safetensors files of a folder. Raises UserError for a folder without, or with a broken index."""
    return sorted(set(weight_index(folder).values())) or [SINGLE]


def weight_index(folder: Path) -> dict[str, str]:
    """Tensor name -> file, empty where one file holds all."""
    if (folder / SINGLE).is_file():
        return {}
    path = folder / INDEX
    if not path.is_file():
        other = sorted(found.name for found in folder.glob("*.bin")) if folder.is_dir() else []
        hint = f" ({', '.join(other[:4])} cannot be read: convert it with transformers)" if other else ""
        raise errors.UserError(f"{folder}: neither {SINGLE} nor {INDEX}{hint}")
    weights = read_json(path).get("weight_map")
    plain = isinstance(weights, dict) and all(isinstance(file, str) for file in weights.values())
    if not weights or not plain or any(Path(file).name != file for file in weights.values()):
        raise errors.UserError(f"{path}: weight_map does not map tensors to files of this folder")
    return weights
