"""Environments: Brax, MuJoCo Playground, the paper's sparse tasks and probes behind one door; episodes in batches."""

from jaxpsn.envs.coverage import Cells, cells
from jaxpsn.envs.episodes import Episodes, EpisodeState, StepOutcome, reset_one, step_one
from jaxpsn.envs.registry import default_episode_length, make, names

__all__ = [
    "Cells", "EpisodeState", "Episodes", "StepOutcome", "cells", "default_episode_length", "make", "names", "reset_one",
    "step_one",
]  # fmt: skip
