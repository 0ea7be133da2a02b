"""For whom programs are traced: by their devices, wherever those are."""

from dataclasses import replace
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import pytest

from jaxpsn.control.placement import Placement
from jaxpsn.core import platforms
from jaxpsn.lm import config
from jaxpsn.rlvr.placement import Placement as RlvrPlacement


def device(platform, kind, version):
    return SimpleNamespace(platform=platform, device_kind=kind, client=SimpleNamespace(platform_version=version))


H200 = device("gpu", "NVIDIA H200", "<unknown>")
MI300 = device("gpu", "AMD Instinct MI300X", "PJRT C API rocm 60000")


@pytest.mark.parametrize(
    "one, name",
    [
        (H200, "cuda"),
        (device("gpu", "GeForce", "PJRT C API cuda 13000"), "cuda"),
        (MI300, "rocm"),
        (device("tpu", "TPU v5 lite", ""), "tpu"),
    ],
)
def test_a_platform_is_named_as_lowering_names_it(one, name):
    assert platforms.of([one]) == name and Placement(devices=[one]).platform == name


def test_without_devices_it_is_that_of_this_process():
    assert platforms.of() == platforms.of(jax.devices()) == Placement().platform == "cpu"


def _chain(x, barrier):
    for _ in range(6):
        x = jnp.sin(x)
    x = jax.lax.optimization_barrier(x) if barrier else x
    uses = [jnp.sin(x * scale) for scale in (1.1, 1.2, 1.3)]
    return [use + jnp.roll(use, 1) for use in uses]


@pytest.mark.usefixtures("optimised")
def test_a_barrier_ends_a_fusion_in_what_is_compiled_with_the_options():
    def sines(barrier):
        made = jax.jit(_chain, static_argnums=1).lower(jnp.zeros(64), barrier)
        return made.compile(compiler_options=platforms.barriers(platforms.CPU)).as_text().count(" sine(")

    without = sines(False)
    assert without > 20, "else every kernel repeats what several need"
    assert sines(True) <= without // 2
    assert platforms.barriers(platforms.CUDA) == {}


def test_the_flash_kernel_is_taken_where_the_devices_are_of_its_make():
    tiny = config.tiny(vocab_size=8)
    assert RlvrPlacement(None, [H200]).decoder(tiny).flash
    assert not RlvrPlacement(None, [MI300]).decoder(tiny).flash and RlvrPlacement(None).decoder(tiny) == tiny


def test_layers_lie_side_by_side_where_a_cpu_samples_from_many_weights():
    large = config.tiny(vocab_size=8, hidden_size=640, num_layers=4)
    assert large.parameters > 1 << 24 > replace(large, num_layers=3).parameters
    assert RlvrPlacement(None).decoder(large).apart
    assert not RlvrPlacement(None).decoder(replace(large, num_layers=3)).apart
    assert not RlvrPlacement(None, [H200]).decoder(large).apart
