"""Where a model folder lies: by its name, by ~, in the hub's cache; what is told where there is none."""

import sys
from types import SimpleNamespace

import pytest

from jaxpsn.core.errors import UserError
from jaxpsn.lm.folders import places


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A home with an empty cache of the hub; nothing of the machine's own is looked at."""
    for name in ("HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def folder(path):
    path.mkdir(parents=True)
    (path / "config.json").write_text("{}")
    return path


def cached(cache, *snapshots, main=None, name="models--Org--Model-1.5B"):
    for snapshot in snapshots:
        folder(cache / name / "snapshots" / snapshot)
    if main is not None:
        (cache / name / "refs").mkdir()
        (cache / name / "refs" / "main").write_text(main)
    return cache / name


def test_a_folder_is_itself_and_a_tilde_is_worked_out(home):
    made = folder(home / "my" / "model")
    assert places.find("model", "my/model") == places.Path("my/model")
    assert places.find("model", str(made)) == made == places.find("model", "~/my/model")


def test_the_root_of_a_download_is_its_snapshot(home):
    root = cached(home / "disk", "aaa", "bbb", main="bbb")
    for named in (root, root / "snapshots"):
        assert places.find("model", named) == root / "snapshots" / "bbb"
    assert places.name(places.find("model", root)) == "Model-1.5B" and places.name(home / "other") == "other"
    only = cached(home / "disk", "ccc", name="models--x--y")
    assert places.find("model", only) == only / "snapshots" / "ccc"
    with pytest.raises(UserError, match=r"model = .*: one of its 2 snapshots \(ccc, ddd\)"):
        places.find("model", cached(home / "disk", "ddd", name="models--x--y"))


@pytest.mark.parametrize(
    ("variable", "value", "cache"),
    [
        (None, None, ".cache/huggingface/hub"),
        ("HF_HOME", "{}/hf", "hf/hub"),
        ("HF_HUB_CACHE", "{}/hub", "hub"),
        ("XDG_CACHE_HOME", "{}/xdg", "xdg/huggingface/hub"),
    ],
)
def test_a_repository_that_was_downloaded_is_found_in_the_cache(home, monkeypatch, variable, value, cache):
    if variable:
        monkeypatch.setenv(variable, value.format(home))
    root = cached(home / cache, "abc", main="abc")
    assert places.find("model", "Org/Model-1.5B") == root / "snapshots" / "abc"
    assert places.known("model", "Org/Other") is None


def test_what_is_not_there_is_told_with_a_hint(home):
    folder(home / "outer" / "inner")
    (home / "two").mkdir()
    for name in ("a.gguf", "b.gguf"):
        (home / "two" / name).write_text("")
    for name in ("empty", "adapters", "nameless"):
        (home / name).mkdir()
    (home / "nameless" / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    (home / "adapters" / "adapter_config.json").write_text('{"base_model_name_or_path": "Org/Base"}')
    (folder(home / "both") / "adapter_config.json").write_text('{"base_model_name_or_path": "Org/Base"}')
    none = "a Hugging Face folder; there is no config.json in it"
    for named, says in (
        ("outer", f"{none}, but in outer/inner"),
        ("empty", none),
        ("adapters", "a whole model; these are adapters of Org/Base: merge them with it first"),
        ("both", "a whole model; of its adapters (adapter_config.json) nothing is read: merge them first"),
        ("nameless", "these are adapters of a base that they do not name: merge them with it first"),
        ("nowhere", none),
        ("two", "one of its 2 GGUF files (a.gguf, b.gguf)"),
        ("outer/inner/config.json", "the folder, not a file, such as outer/inner; or a .gguf file"),
    ):
        with pytest.raises(UserError) as caught:
            places.find("model", named)
        assert str(caught.value).startswith(f"model = {named!r}: ") and str(caught.value).endswith(says)


def test_files_that_count(home):
    made = folder(home / "m")
    for name in ("tokenizer.json", "chat_template.jinja", "README.md", ".hidden.json", "model.safetensors", "x.bin"):
        (made / name).write_text("")
    assert [path.name for path in places.text_files(made)] == ["chat_template.jinja", "config.json", "tokenizer.json"]
    assert [path.name for path in places.tensor_files(made)] == ["model.safetensors"]


def test_a_name_on_the_hub_is_downloaded_once(home, monkeypatch):
    asked = []

    def snapshot_download(name, allow_patterns):
        asked.append(name)
        if name != "Org/Model-1.5B":
            raise OSError("offline\nand nobody home")
        assert "*.safetensors" in allow_patterns and "*.json" in allow_patterns
        return str(cached(home / ".cache" / "huggingface" / "hub", "abc", main="abc") / "snapshots" / "abc")

    monkeypatch.setitem(sys.modules, "huggingface_hub", SimpleNamespace(snapshot_download=snapshot_download))
    found = places.find("model", "Org/Model-1.5B")
    assert found.name == "abc" and places.find("model", "Org/Model-1.5B") == found and len(asked) == 1
    for missing in (False, True):
        if missing:
            monkeypatch.setitem(sys.modules, "huggingface_hub", None)
        with pytest.raises(UserError) as caught:
            places.find("model", "Org/Other")
        told = str(caught.value)
        assert "hf download Org/Other --local-dir DIR fetches one" in told and "\n" not in told
        assert ("pip install" if missing else "offline and nobody home") in told
