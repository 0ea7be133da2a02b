"""Convolutions as products with patches, so that weight noise needs no kernel for each environment."""

from dataclasses import dataclass
from typing import Annotated, Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxpsn.core import errors
from jaxpsn.core.fields import Whole, Widths
from jaxpsn.networks.layers import Hidden
from jaxpsn.networks.torso import TORSOS, Torso

_Size = Annotated[int, Whole(1, 1 << 12)]


@TORSOS.register("cnn")
@dataclass(frozen=True)
class Cnn(Torso):
    """Convolutions without padding, each with its norm over channels: images ``[height, width, channels]``, flattened.

    The defaults are those of MinAtar (Young and Tian 2019, arXiv 1903.03176; layer norm as in Gallici et al. 2024).
    A convolution is a matrix product with the patches of its input: Flipout and low-rank noise have one product that
    all environments share, as in dense layers, and only ``structure=dense`` holds a kernel for each.
    """

    channels: Widths = (16,)
    """Output channels of each convolution."""
    kernel: Annotated[int, Whole(1, 64)] = 3
    """Height and width of the patches."""
    stride: Annotated[int, Whole(1, 64)] = 1
    """Step from one patch to the next."""
    height: _Size = 10
    """Rows of the image."""
    width: _Size = 10
    """Columns of the image."""

    def validate(self) -> None:
        least = min(self.height, self.width)
        for _ in self.channels:
            least = (least - self.kernel) // self.stride + 1 if least >= self.kernel else 0
        if least < 1:
            errors.refuse("cnn.kernel", self.kernel, f"small enough for {self.height} x {self.width} in every layer")

    def check(self, observation_size: int) -> None:
        if observation_size % (self.height * self.width):
            allowed = f"sizes whose product divides the {observation_size} numbers of an observation"
            errors.refuse("cnn.height, cnn.width", (self.height, self.width), allowed)

    def build(self, nonlinearity: str, layer_norm: bool) -> nn.Module:
        return Convolutions(self, nonlinearity, layer_norm)


class Convolutions(nn.Module):
    """Flattened images ``[..., H W C]`` to features ``[..., H' W' channels]``."""

    config: Cnn
    nonlinearity: str = "relu"
    layer_norm: bool = True
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, obs: Float[Array, "*batch o"]) -> Float[Array, "*batch f"]:
        config = self.config
        x = obs.reshape(*obs.shape[:-1], config.height, config.width, -1)
        for i, width in enumerate(config.channels):
            cut = patches(x, config.kernel, config.stride)
            x = Hidden(width, self.nonlinearity, self.layer_norm, self.dtype, name=f"conv_{i}")(cut)
        return x.reshape(*x.shape[:-3], -1)


def patches(x: Float[Array, "*batch h w c"], size: int, stride: int) -> Float[Array, "*batch i j p"]:
    """All patches of ``size x size`` that lie within ``x``, each as numbers in the order (row, column, channel)."""
    height, width = ((extent - size) // stride + 1 for extent in x.shape[-3:-1])

    def shifted(row: int, column: int) -> Float[Array, "*batch i j c"]:
        rows = slice(row, row + stride * (height - 1) + 1, stride)
        return x[..., rows, slice(column, column + stride * (width - 1) + 1, stride), :]

    return jnp.concatenate([shifted(row, column) for row in range(size) for column in range(size)], axis=-1)
