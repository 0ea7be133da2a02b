"""Parameter-space noise: structures, selection, fused application, scale rules, distances and holds.

Small values with pure functions. Knows pytrees and Flax modules, nothing of reinforcement learning::

    kind  = noise.Flipout()
    spec  = noise.plan(policy.apply, params, example)       # example: ONE member's input
    draw  = kind.init(key, spec, members=4096)
    act   = noise.fused(policy.apply, spec, kind)           # act(params, draw, sigma, obs[members, ...])
    draw  = kind.redraw(key, draw, where=done)
    theta = kind.materialise(params, draw, sigma, member=7)
"""

from jaxpsn.noise.catalogue import named as named
from jaxpsn.noise.dense import Dense as Dense
from jaxpsn.noise.dense import InputGain as InputGain
from jaxpsn.noise.distances import argmax_disagreement as argmax_disagreement
from jaxpsn.noise.distances import epsilon_greedy_target as epsilon_greedy_target
from jaxpsn.noise.distances import kl_gaussian as kl_gaussian
from jaxpsn.noise.distances import kl_softmax as kl_softmax
from jaxpsn.noise.distances import rms_action as rms_action
from jaxpsn.noise.draws import Draw as Draw
from jaxpsn.noise.drifting import drifted as drifted
from jaxpsn.noise.flipout import Flipout as Flipout
from jaxpsn.noise.fused import fused as fused
from jaxpsn.noise.holds import Hold as Hold
from jaxpsn.noise.holds import drift as drift
from jaxpsn.noise.holds import every as every
from jaxpsn.noise.holds import geometric as geometric
from jaxpsn.noise.holds import per_component as per_component
from jaxpsn.noise.holds import per_episode as per_episode
from jaxpsn.noise.holds import zeta as zeta
from jaxpsn.noise.lowrank import Factorised as Factorised
from jaxpsn.noise.lowrank import LowRank as LowRank
from jaxpsn.noise.multiscale import Multiscale as Multiscale
from jaxpsn.noise.nnx import nnx_policy as nnx_policy
from jaxpsn.noise.plan import plan as plan
from jaxpsn.noise.posterior import Posterior as Posterior
from jaxpsn.noise.scales import Scale as Scale
from jaxpsn.noise.scales import adaptive as adaptive
from jaxpsn.noise.scales import bisection as bisection
from jaxpsn.noise.scales import constant as constant
from jaxpsn.noise.scales import first_order as first_order
from jaxpsn.noise.scales import scheduled as scheduled
from jaxpsn.noise.selection import Selection as Selection
from jaxpsn.noise.selection import all_but_norms as all_but_norms
from jaxpsn.noise.selection import embeddings as embeddings
from jaxpsn.noise.selection import everything as everything
from jaxpsn.noise.selection import matching as matching
from jaxpsn.noise.selection import norms as norms
from jaxpsn.noise.selection import statistics as statistics
from jaxpsn.noise.spec import Leaf as Leaf
from jaxpsn.noise.spec import Spec as Spec
from jaxpsn.noise.spec import formed as formed
from jaxpsn.noise.spec import spec_summary as spec_summary
from jaxpsn.noise.structures import Structure as Structure
from jaxpsn.noise.superpose import superpose as superpose
