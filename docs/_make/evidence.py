"""Tables that decide: when to use parameter noise, and the ladder of like choices, from the files under results/."""

import json
import re

from _make.cells import RESULTS, Row, interval, markdown, number, points, rows

_TASKS: tuple[tuple[str, str, str, str, str, str], ...] = (
    ("The first reward takes one long push", "mountain-car", "`parameter`, or correlated noise on actions", "any",
     "the episode", "control.md#mountain-car-light"),
    ("The same, with a bonus for novelty", "rnd-mountain-car", "both: no higher at the end, but sooner there", "-",
     "the episode", "exploration.md#rnd-and-parameter-noise"),
    ("The first reward comes soon to everybody; balancing is what is hard", "cartpole", "`pink` on actions", "-",
     "the episode is too long", "control.md#cart-pole-swing-up-light"),
    ("The same, weight noise in eight forms", "cartpole-why", "none of them is apart", "-", "25 steps look best",
     "control.md#cart-pole-swing-up-light"),
    ("Dense reward, locomotion, early in learning", "halfcheetah", "`parameter`", "any", "the episode",
     "control.md#halfcheetah-dense-reward"),
    ("Dense reward, swing-up; gradients or evolution", "evolution", "`parameter`; populations add nothing seen", "-",
     "the episode", "control.md#gradients-and-evolution"),
    ("Two links, rewards within hundreds of steps", "double-pendulum", "any", "-", "-", "control.md#short-tables"),
)  # fmt: skip
"""Property of a task, its study, what we would take, structure, hold, and the section that tells of it."""


def when() -> str:
    """What to take in control, by the property of a task; leaders by the probability of improvement."""
    body = []
    for told, study_of, rule, structure, hold, section in _TASKS:
        arms = {row["arm"]: row for row in rows(f"studies/{study_of}/table.csv")}
        best = max(arms, key=lambda arm: float(arms[arm]["final"]))
        against = [row for row in rows(f"studies/{study_of}/pairs.csv") if row["ours"] == best]
        sure = {row["theirs"]: float(row["low"]) > 0.5 for row in against if row["of"] == "final return"}
        level, below = ([f"`{arm}`" for arm, apart in sure.items() if apart == wanted] for wanted in (False, True))
        found = f"`{best}` {interval(arms[best], 'final')}; not apart: {', '.join(level) or 'none'}"
        found += f"; below: {', '.join(below) or 'none'}"
        target = next(row["scale"] for row in (arms[best], *arms.values()) if row["scale_field"] == "target")
        form = f"structure: {structure}; hold: {hold}; target: {target}"
        body.append([f"[{study_of}]({section})", told, rule, form, found])
    head = ["evidence", "task", "take", "if `parameter`", "final return (IQM): the best, and who is apart from it"]
    return markdown(head, body)


_PATHS = {
    "fixed": "One straight path is rewarded, 30 choices long, and the same choice leads on in every place",
    "random": "The same, but each place has a choice of its own that leads on",
}


def paths() -> str:
    """What to take where one long path is rewarded: the ways to explore in order, and who is sooner than whom."""
    told = json.loads((RESULTS / "deep/chain.json").read_text(encoding="utf-8"))
    body = []
    for mapping, about in _PATHS.items():
        arms = [row for row in told["rows"] if (row["size"], row["mapping"]) == (30, mapping)]
        arms.sort(key=lambda row: (-row["solved"], row["median"] or 0))
        best = arms[0]["arm"]
        sooner = {}
        for pair in (pair for pair in told["pairs"] if (pair["size"], pair["mapping"]) == (30, mapping)):
            if best == pair["ours"]:
                sooner[pair["theirs"]] = pair["low"] > 0.5
            elif best == pair["theirs"]:
                sooner[pair["ours"]] = pair["high"] < 0.5
        level = ", ".join(f"`{arm}`" for arm, sure in sooner.items() if not sure) or "none"
        found = "; ".join(f"`{row['arm']}` {row['solved']} of {row['seeds']}" for row in arms)
        body.append(["[chain](exploration.md#chain)", about, f"`{best}`", found, level])
    return markdown(
        ["evidence", "task", "take", "seeds that solve it, soonest first", "not apart from the soonest"], body
    )


_ANSWERS = (
    ("Answers of ten tokens with few like choices", "no noise; `entropy` is above GRPO", "all", "the-study"),
    ("The longest way to a reward of our three tasks (grid)", "`psn`, an answer a perturbation, or `entropy`", "grid",
     "why-the-noise-does-not-carry-here"),
    ("Countdown", "no arm is apart from GRPO", "countdown", "countdown-and-make-a-target-alone"),
)  # fmt: skip


def answers() -> str:
    """What to take in reasoning, by the property of a task."""
    found = {(row["task"], row["ours"]): row for row in rows("reasoning/contrasts.csv") if row["k"] == "256"}
    body = []
    for told, take, task, section in _ANSWERS:
        arms = ("psn", "psn-kl", "psn-step", "entropy")
        each = "; ".join(f"`{arm}` {points(found[task, arm])}" for arm in arms)
        body.append([f"[study](reasoning.md#{section})", told, take, f"pass@256 minus GRPO, points: {each}"])
    for row in rows("ladder/ladder.csv")[2:]:
        low, high = (float(row[f"over_temperature_{end}"]) for end in ("low", "high"))
        take = "temperature" if high < 1 else "noise that is held for the answer" if low > 1 else "either"
        ratio = f"success with held noise over that with temperature: {_power(row, 'over_temperature')}"
        told = f"An answer must take the same rare branch {row['choices']} times; nothing is learnt yet"
        body.append(["[ladder](reasoning.md#the-ladder-of-like-choices)", told, take, ratio])
    return markdown(["evidence", "task", "take", "the numbers"], body)


def ladder() -> str:
    """What holding the noise is worth, by the number of like choices."""
    body = []
    for row in rows("ladder/ladder.csv"):
        whole = 10 ** (float(row["held_log10_whole"]) - float(row["temperature_log10_whole"]))
        told = row | {"whole": str(whole), "success": str(10 ** float(row["held_log10"]))}
        names = ("over_temperature", "formula", "formula_coherent", "over_redrawn", "whole", "success")
        body.append([row["choices"], *(_power(told, name) for name in names), number(row["members"], 2)])
    head = ["like choices", "held over temperature", "the formula's", "the same, coherence as measured"]
    return markdown([*head, "held over redrawn", "whole text, over temperature", "P, held", "members that count"], body)


def _power(row: Row, name: str) -> str:
    """A ratio with its interval: as it is while it is near one, else in powers of ten."""
    found = [float(row[key]) for key in (name, f"{name}_low", f"{name}_high") if row.get(key)]
    told = [number(one) if 0.01 <= one < 1000 else re.sub(r"e\+?(-?)0*", r"e\1", f"{one:.0e}") for one in found]
    return told[0] + (f" [{told[1]}, {told[2]}]" if len(told) == 3 else "")


def claims() -> str:
    """What was expected of the ladder before the first run, and what came of it."""
    found = json.loads((RESULTS / "ladder" / "ladder.json").read_text())["claims"]
    body = [
        [one["says"], ", ".join(map(str, one["lengths"])), ", ".join(one["by_length"]), one["verdict"]] for one in found
    ]
    return markdown(["expected", "like choices", "at each of them", "verdict"], body)


def thickets() -> str:
    """Shares of perturbations that are better than a policy of ours, by its size."""
    body = []
    for path in sorted((RESULTS / "thickets").glob("*/thickets.json")):
        found = json.loads(path.read_text())
        for row in found["rows"]:
            told = [
                f"{found['parameters'] / 1e6:.2f} M",
                f"`{row['structure']}`",
                f"{row['sigma']:g}" if row["sigma"] else "-",
            ]
            shares = [interval({name: str(value) for name, value in row.items()}, name) for name in ("better", "new")]
            body.append([*told, *shares, number(row["pass_1"]), number(row["best"])])
    return markdown(["parameters", "structure", "sigma", "better", "solve a new one", "mean pass@1", "best"], body)
