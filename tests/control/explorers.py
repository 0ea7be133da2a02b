"""Explorers as tests make them: rules by their text, and hyper-parameters by the last part of their path."""

import jax.numpy as jnp

from jaxpsn.control import exploration
from jaxpsn.core import Sum, paths_of, replaced, terms_of

STRUCTURES = ("dense", "dense-bf16", "flipout", "flipout-sign", "flipout-normal", "lowrank", "factorised", "input-gain")


def component(rule="parameter", **fields):
    """The component or sum, each summand with those of the fields that it, or what it is made of, has."""
    explore = exploration.EXPLORATION.make(rule)
    terms = []
    for term in terms_of(explore):
        own = [field for field in fields if any(path.rpartition(".")[2] == field for path in paths_of(term))]
        first = {field: fields[field] for field in own if "." not in field and field in paths_of(term)}
        term = replaced(term, first)  # what is chosen first may have the others
        own = [field for field in fields if any(path.rpartition(".")[2] == field for path in paths_of(term))]
        terms.append(replaced(term, {field: fields[field] for field in own}))
    return Sum(tuple(terms)) if isinstance(explore, Sum) else terms[0]


def hyper(explore, **values):
    """Its traced fields, those of ``values`` (by the last part of their path) in place of its own."""
    own = exploration.hyper_of(explore)
    return {path: jnp.asarray(values.get(path.rpartition(".")[2], leaf), jnp.float32) for path, leaf in own.items()}


def explorer(explore, policy, params, space):
    """The explorer; ``init`` takes ``values`` of :func:`hyper` as its hyper-parameters."""
    made = exploration.make(explore, policy, params, space)
    return made._replace(init=lambda key, params, values: made.init(key, params, hyper(explore, **values)))
