"""Sorting by swaps against brute force over words."""

import itertools
import random

import pytest

from jaxpsn.tasks import swaps
from jaxpsn.tasks.problem import TASKS, Problem


def ask(prompt):
    return Problem(prompt, prompt, "", "swaps")


def sorts(digits: str, word) -> bool:
    left = list(digits)
    for i, j in word:
        left[i], left[j] = left[j], left[i]
    return left == sorted(left)


def letters(size, kind):
    pairs = itertools.combinations(range(size), 2)
    return [pair for pair in pairs if kind == "any" or pair[1] == pair[0] + 1]


def text_of(word, kind):
    return "".join(str(i + 1) if kind == "adjacent" else f"{i + 1}{j + 1}" for i, j in word)


def classes(words):
    """Each word's class under exchange of neighbours that do not touch and removal of doubles: joined step by step."""
    parent = {word: word for word in words}

    def root(word):
        while parent[word] != word:
            word = parent[word]
        return word

    for word in words:
        for i in range(len(word) - 1):
            if not set(word[i]) & set(word[i + 1]):
                parent[root(word)] = root((*word[:i], word[i + 1], word[i], *word[i + 2 :]))
            if word[i] == word[i + 1]:
                parent[root(word)] = root((*word[:i], *word[i + 2 :]))
    return {word: root(word) for word in words}


@pytest.mark.parametrize(("kind", "digits", "bound"), [
    ("adjacent", "321", 5), ("adjacent", "4213", 7), ("adjacent", "90182", 7), ("any", "321", 4), ("any", "7135", 5),
    ("any", "2143", 5),
])  # fmt: skip
def test_checks_keys_and_counts_agree_with_brute_force(kind, digits, bound):
    task = TASKS.get("swaps")(length=len(digits), kind=kind)
    problem = ask(f"{digits}<{bound}:")
    alphabet = letters(len(digits), kind)
    words = [word for size in range(bound + 1) for word in itertools.product(alphabet, repeat=size)]
    if len(words) > 5000:  # all of them for the classes, some of them for the checker
        chosen = random.Random(0).sample(words, 5000)
    else:
        chosen = words
    assert all(task.check(problem, text_of(word, kind)) == sorts(digits, word) for word in chosen)
    right = [word for word in words if sorts(digits, word)]
    part = classes(right)
    keys = {word: task.canonical(problem, text_of(word, kind)) for word in right}
    assert len(set(keys.values())) == len(set(part.values())) == task.count(problem)
    assert len({(keys[word], part[word]) for word in right}) == task.count(problem)


def test_too_many_or_foreign_swaps_are_wrong():
    task = TASKS.get("swaps")(length=3)
    assert task.check(ask("213<3:"), "1") and task.check(ask("213<3:"), "1 2 2")
    for text in ("", "2", "11", "12211", "3", "0", "1a", "-1", "1.", "1" * 13):
        assert not task.check(ask("213<3:"), text)
    other = TASKS.get("swaps")(length=3, kind="any")
    assert other.check(ask("213<3:"), "12") and other.check(ask("213<3:"), "21")
    assert other.canonical(ask("213<3:"), "21") == other.canonical(ask("213<3:"), "12")
    for text in ("1", "11", "14", "121", "13"):
        assert not other.check(ask("213<3:"), text)


@pytest.mark.parametrize("adjacent", [True, False])
def test_distance_is_the_fewest_swaps(adjacent):
    for size in (2, 3, 4, 5):
        fewest = {tuple(range(size)): 0}
        queue = [tuple(range(size))]
        for order in queue:
            for i, j in letters(size, "adjacent" if adjacent else "any"):
                changed = list(order)
                changed[i], changed[j] = changed[j], changed[i]
                if tuple(changed) not in fewest:
                    fewest[tuple(changed)] = fewest[order] + 1
                    queue.append(tuple(changed))
        assert len(fewest) > 1 and all(swaps.distance(order, adjacent) == n for order, n in fewest.items())


def test_the_narrow_style_has_one_answer_a_prompt():
    for kind in ("adjacent", "any"):
        task = TASKS.get("swaps")(kind=kind, length=4, variety=0.0)
        answers = {}
        for problem in itertools.islice(task.stream("pretrain", 0), 800):
            assert answers.setdefault(problem.prompt, problem.answer) == problem.answer
        wide = TASKS.get("swaps")(kind=kind, length=4, variety=1.0)
        pairs = {(p.prompt, p.answer) for p in itertools.islice(wide.stream("pretrain", 0), 800)}
        assert len(pairs) > 1.05 * len({prompt for prompt, _ in pairs})


def test_long_sequences_are_not_counted():
    assert TASKS.get("swaps")(length=7).count(ask("7654321<21:")) is None
