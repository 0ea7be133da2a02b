"""Tiny random checkpoints as transformers writes them, and the logits that it computes from them with torch.

As a program it writes the ones that the tests compare with where torch is not installed::

    python -m tests.lm.oracle
"""

import importlib.util
import os
import sys
from pathlib import Path

import numpy as np

GOLDEN = Path(__file__).parent / "golden"
_SIZES = {
    "vocab_size": 64, "hidden_size": 48, "intermediate_size": 80, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 2048, "initializer_range": 0.2,
    "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0,
}  # fmt: skip
_LLAMA3 = {
    "rope_type": "llama3", "rope_theta": 5e5, "factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 256,
}  # fmt: skip
# name -> model type, and what its config has besides the sizes
CHECKPOINTS = {
    "qwen2": ("qwen2", {"rope_parameters": {"rope_type": "default", "rope_theta": 1e6}}),
    "qwen2-tied": ("qwen2", {"tie_word_embeddings": True}),
    "qwen3": ("qwen3", {"head_dim": 20, "rope_parameters": {"rope_type": "default", "rope_theta": 1e6}}),
    "llama": ("llama", {"rope_parameters": {"rope_type": "default", "rope_theta": 5e5}}),
    "llama-scaled": ("llama", {"rope_parameters": _LLAMA3, "tie_word_embeddings": True}),
    "llama-linear": ("llama", {
        "rope_parameters": {"rope_type": "linear", "rope_theta": 1e4, "factor": 4.0},
        "attention_bias": True, "mlp_bias": True, "num_key_value_heads": 4,
    }),
}  # fmt: skip


def tokens(rows: int = 1, length: int = 1024) -> np.ndarray:
    """Token ids ``[rows, length]``."""
    return np.random.default_rng(7).integers(0, _SIZES["vocab_size"], (rows, length), dtype=np.int32)


def needed():
    """transformers, for a test that is skipped where it or torch is missing (and fails if they are required)."""
    import pytest

    missing = [name for name in ("torch", "transformers") if importlib.util.find_spec(name) is None]
    reason = f"not installed: {', '.join(missing)}"
    if missing and os.environ.get("JAXPSN_REQUIRE_TORCH") == "1":
        pytest.fail(reason)
    if missing:
        pytest.skip(reason)
    return _transformers()


def _transformers():
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    return transformers


def write(folder: Path, name: str, dtype: str = "float32", **saving) -> None:
    """The checkpoint ``name``: every tensor random, biases and norms too."""
    kind, extra = CHECKPOINTS[name]
    import torch

    transformers = _transformers()
    torch.manual_seed(3)
    network = transformers.AutoModelForCausalLM.from_config(
        transformers.AutoConfig.for_model(kind, **{**_SIZES, **extra})
    )
    with torch.no_grad():
        for path, leaf in network.named_parameters():
            if leaf.ndim == 1:
                leaf.normal_(1.0 if "norm" in path else 0.0, 0.2)
    network.to(getattr(torch, dtype)).save_pretrained(folder, **saving)


def logits(folder: Path, ids: np.ndarray, **loading) -> np.ndarray:
    """What transformers computes for ``ids`` in float32, strictly: every tensor of the folder used, none missing."""
    import torch

    network, info = _transformers().AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager", output_loading_info=True, **loading
    )
    assert not any(info.values()), info
    with torch.no_grad():
        return network(torch.from_numpy(ids.astype(np.int64))).logits.numpy()


def _golden() -> None:
    for name in CHECKPOINTS:
        folder = GOLDEN / name
        write(folder, name, "bfloat16")
        (folder / "generation_config.json").unlink()
        found = logits(folder, tokens())[0]
        # Every 16th position, and the last ones: each depends on all before it.
        places = np.unique(np.r_[np.arange(0, found.shape[0], 16), found.shape[0] - 8 : found.shape[0]])
        np.savez_compressed(folder / "logits.npz", places=places, logits=found[places])
        print(name, f"std {found.std():.2f}", sum(path.stat().st_size for path in folder.iterdir()))


if __name__ == "__main__":
    sys.exit(_golden())
