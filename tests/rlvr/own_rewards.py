"""Rewards of a user's own, as functions."""


def ones(prompts, answers, problems):
    return [1.0 for _ in answers]


def lengths(prompts, answers, problems):
    return [10.0 + len(answer) for answer in answers]
