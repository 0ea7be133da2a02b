"""For whom programs are traced: by their devices, wherever those are."""

from dataclasses import replace
from types import SimpleNamespace

import jax
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
