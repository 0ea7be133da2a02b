"""Noise of one's own beside psn and none: it is planned and drawn as psn is, or refused in one line."""

from dataclasses import dataclass, field
from typing import ClassVar

import jax
import pytest

from jaxpsn.core import errors
from jaxpsn.noise import Flipout, Structure
from jaxpsn.noise.scale_rules import ScaleRule
from jaxpsn.rlvr.config import RlvrConfig, RolloutConfig
from jaxpsn.rlvr.exploration import perturbation
from jaxpsn.rlvr.exploration.noise_family import NOISES, Noise
from jaxpsn.rlvr.exploration.rules import Fixed


@pytest.fixture
def kinds():
    """Noise for half of the answers, and noise that does not say what is drawn."""
    before = NOISES.snapshot()

    @NOISES.register("half")
    @dataclass(frozen=True)
    class Half(Noise):
        """Every second answer is noisy."""

        clean_share: ClassVar[float] = 0.5
        structure: Structure = Flipout()
        select: str = "mlp"
        relative: bool = False
        sigma: ScaleRule = field(default_factory=lambda: Fixed(0.3))

        def members(self, answers):
            return answers

    @NOISES.register("silent")
    @dataclass(frozen=True)
    class Silent(Noise):
        """It has members and nothing that is drawn."""

        sigma: ClassVar[ScaleRule] = Fixed(0.1)

        def members(self, answers):
            return answers

    yield
    NOISES.restore(before)


def test_it_is_planned_and_drawn(kinds, small):
    config = RlvrConfig(noise="half(structure=lowrank)", rollout=RolloutConfig(prompts=2, samples=8))
    assert (config.members, config.clean_samples, config.sigma) == (4, 4, Fixed(0.3))
    made = perturbation.plan(config.noise, small.DECODER, small.BASE.params, config.members, 1)
    assert made is not None and made.members == 4 and all("/mlp/" in leaf.path for leaf in made.spec.leaves)
    assert made.draw(jax.random.key(0), 3).members == 4


def test_what_does_not_say_what_is_drawn_is_one_line(kinds, small):
    config = RlvrConfig(noise="silent")
    with pytest.raises(errors.UserError, match="noise = 'silent': noise that says its structure, select, relative"):
        perturbation.plan(config.noise, small.DECODER, small.BASE.params, 2, 1)
