"""Accelerators that are compiled for, with the figures that fit and prediction rest on; imports no JAX."""

import re
from dataclasses import dataclass
from math import prod

from jaxpsn.core import errors
from jaxpsn.core.errors import UserError

CUDA, TPU = "cuda", "tpu"


@dataclass(frozen=True)
class Target:
    """One kind of chip, and how many of them: figures of a single one, from its public data sheet."""

    name: str
    platform: str
    """As ``lowering_platforms`` names it."""
    devices: int
    memory: int
    """Bytes."""
    bandwidth: float
    """Bytes a second."""
    flops: float
    """Dense bfloat16 products a second; products of float32 take longer."""
    launch: float
    """Seconds from one kernel to the next that cannot be hidden; assumed."""
    wait: float
    """Seconds that a conditional or a loop of unknown length adds; assumed."""
    topology: str

    def predicted(self, kernels: float, waits: float, moved: float, flops: float) -> float:
        """Seconds: whatever is largest of launching, moving and multiplying, and the waits. A guess by assumption."""
        return max(kernels * self.launch, moved / self.bandwidth, flops / self.flops) + waits * self.wait

    @property
    def assumptions(self) -> str:
        """What :meth:`predicted` takes for granted, in one line."""
        return (
            f"predicted, not measured: the largest of {self.launch * 1e6:g} us a kernel, bytes at "
            f"{self.bandwidth / 1e12:g} TB/s, bf16 at {self.flops / 1e12:g} TFLOP/s; {self.wait * 1e6:g} us a wait"
        )


_GPUS = {"h100": (85_899_345_920, 3.35e12), "h200": (151_397_597_184, 4.8e12)}
"""80 and 141 GB of HBM less what the driver keeps is what programs get; NVIDIA's data sheets, SXM."""
_TPUS = {"v5e": (2, 17_179_869_184, 8.19e11, 1.97e14), "v5p": (3, 102_005_473_280, 2.765e12, 4.59e14),
         "v6e": (2, 34_359_738_368, 1.64e12, 9.18e14)}  # fmt: skip
"""Axes of a slice, bytes of HBM, bytes a second and bfloat16 products a second of a chip; Google Cloud's TPU pages."""
EXAMPLES = ("h100", "h200", "h200:8", "v5e:2x2", "v5e:4x4", "v5p:2x2x1", "v5p:4x4x4", "v6e:2x2")


def parse(text: str) -> Target:
    """The target of ``h200``, ``h200:8`` (so many of them) or ``v5e:2x2`` (a slice). Raises UserError, in one line."""
    kind, colon, shape = text.lower().partition(":")
    if kind in _GPUS and (not colon or re.fullmatch(r"[1-9]\d{0,4}", shape)):
        memory, bandwidth = _GPUS[kind]
        count = int(shape or 1)
        return Target(text, CUDA, count, memory, bandwidth, 9.89e14, 2.5e-6, 1e-5, f"1x1x{count}")
    if kind in _TPUS:
        axes, memory, bandwidth, flops = _TPUS[kind]
        shape = shape or "x".join(["2", "2", "1"][:axes])
        if re.fullmatch(r"[1-9]\d{0,3}" + r"x[1-9]\d{0,3}" * (axes - 1), shape):
            count = prod(map(int, shape.split("x")))
            return Target(text, TPU, count, memory, bandwidth, flops, 5e-7, 1e-6, f"{kind}:{shape}")
        errors.refuse("target", text, f"{kind}:{'x'.join('ABC'[:axes])}, a slice of {axes} axes such as {kind}:2x2")
    known = {name.partition(":")[0]: name for name in EXAMPLES}
    if kind in known:
        errors.refuse("target", text, f"{kind} or {kind}:8, for eight of them")
    errors.refuse("target", text, errors.nearest(text, EXAMPLES))


def check_mesh(target: Target, devices: int) -> None:
    """Refuse a mesh of more devices than there are."""
    if devices > target.devices:
        allowed = f"at most the {target.devices} devices of {target.name}; a larger target is such as "
        larger = f"{target.name.partition(':')[0]}:{devices}" if target.platform == CUDA else "v5p:4x4x4"
        raise UserError(f"mesh = {devices} devices: must be {allowed}{larger}")


def description(target: Target) -> str:
    """What XLA is told of a GPU: its GpuTargetConfigProto, as text."""
    chip = target.name.partition(":")[0].upper()
    l2 = 62_914_560 if chip == "H200" else 52_428_800
    fields = {
        "threads_per_block_limit": 1024, "threads_per_warp": 32, "shared_memory_per_block": 49_152,
        "shared_memory_per_core": 233_472, "threads_per_core_limit": 2048, "core_count": 132, "fpus_per_core": 128,
        "block_dim_limit_x": 2_147_483_647, "block_dim_limit_y": 65_535, "block_dim_limit_z": 65_535,
        "memory_bandwidth": int(target.bandwidth), "l2_cache_size": l2, "clock_rate_ghz": 1.98,
        "device_memory_size": target.memory, "shared_memory_per_block_optin": 232_448,
        "registers_per_core_limit": 65_536, "registers_per_block_limit": 65_536,
    }  # fmt: skip
    told = " ".join(f"{name}: {value}" for name, value in fields.items())
    return (
        f"gpu_device_info {{ {told} cuda_compute_capability {{ major: 9 }} }} "
        'platform_name: "CUDA" dnn_version_info { major: 9 minor: 28 } '
        f'runtime_version {{ major: 13 minor: 0 patch: 0 }} device_description_str: "NVIDIA {chip}"'
    )
