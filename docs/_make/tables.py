"""Tables of the pages, made from the files under results/: `python docs/_make/tables.py` writes them anew.

A page holds a table between `<!-- table NAME -->` and `<!-- /table -->`; what stands between them is the output of the
function of that name here. A test renders every page again and compares.
"""

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "docs")]

from _make import evidence  # noqa: E402  - found where this file is run as a script
from _make.cells import RESULTS, Row, interval, markdown, number, points, ratio, rows  # noqa: E402

_BLOCK = re.compile(r"(<!-- table ([\w/ -]+?) -->\n)(.*?)(<!-- /table -->)", re.DOTALL)


def pages() -> list[Path]:
    """Every page that may hold a table."""
    return sorted((ROOT / "docs").rglob("*.md"))


def render(text: str) -> str:
    """A page with all its tables made anew."""
    return _BLOCK.sub(lambda match: match[1] + table(match[2]) + match[4], text)


def table(name: str) -> str:
    """One table as Markdown; ``NAME ARGUMENT`` gives the function an argument."""
    function, _, argument = name.partition(" ")
    return TABLES[function](*([argument] if argument else []))


_FORMS = {
    "flipout": "Flipout, Hadamard base (default)",
    "flipout-sign": "Flipout, random sign base",
    "flipout-normal": "Flipout, normal base",
    "factorised": "factorised",
    "lowrank-no-head": "low rank 1, no dense head",
    "lowrank": "low rank 1, dense head",
    "lowrank-4": "low rank 4, dense head",
    "input-gain": "input gain",
    "dense-groups": "dense, 128 draws shared",
    "dense": "dense",
    "dense-bf16": "dense in bfloat16",
    "vmap": "`vmap` over materialised weights",
}


def acting() -> str:
    """Price of a policy step by structure, members and redraws."""
    of = {(row["name"], row["members"], row["part"]): row for row in rows("acting.csv")}
    kinds = (("held", ""), ("1 % redrawn", " + redraw 1%"), ("all redrawn", " + redraw"))
    columns = [(*kind, "1024") for kind in kinds] + [(*kind, "16384") for kind in kinds[:2]]
    head = ["", *(f"{kind}, {int(members):,}" for kind, _, members in columns), "environment step, 1,024"]
    body = []
    for name, told in _FORMS.items():
        cells = [ratio(of.get((name + end, members, "policy step"))) for _, end, members in columns]
        body.append([told, *cells, ratio(of.get((name, "1024", "environment step")))])
    return markdown(head, body)


def ratios(argument: str) -> str:
    """Name, seconds and ratio of every row of one benchmark: ``training``, ``replay``, ..."""
    found = [row for row in rows(f"{argument}.csv") if row["ratio"]]
    body = [[row["name"], number(row["seconds"]), ratio(row)] for row in found]
    return markdown(["", "seconds", "ratio to the first"], body)


def startup() -> str:
    """Seconds from the start of the process to the end of the first training step, by stage."""
    stages = ("import", "build", "trace", "compile", "first state", "first step", "total")
    of = {(row["arm"], row["cache"], row["stage"]): row["seconds"] for row in rows("startup.csv")}
    told = [(arm, cache) for cache in ("cold", "warm") for arm in ("none", "flipout")]
    head = ["stage", *(f"{arm}, {'nothing compiled' if cache == 'cold' else 'compiled before'}" for arm, cache in told)]
    return markdown(head, [[stage, *(number(of[arm, cache, stage]) for arm, cache in told)] for stage in stages])


def memory() -> str:
    """Bytes of state that a member has, by structure."""
    found = [row for row in rows("memory.csv") if row["members"] == "1024" and row["member_bytes"]]
    told = [[_FORMS[row["name"]], f"{int(row['member_bytes']):,}", f"{float(row['weights']):.2%}"] for row in found]
    return markdown(["", "bytes of a member", "share of a copy of the weights"], told)


def physics() -> str:
    """An environment step in Brax's own layout and in lanes."""
    found = {row["name"]: row for row in rows("physics.csv")}
    body = []
    for name, ours in found.items():
        if not name.endswith(": lanes"):
            continue
        theirs = found[name.replace("lanes", "Brax")]
        told = [f"{1000 * float(one['seconds']):.3g}" for one in (theirs, ours)]
        compiling = f"{float(theirs['compiling']):.0f}, {float(ours['compiling']):.0f}"
        body.append([ours["task"], ours["num_envs"], *told, ratio(ours), compiling])
    head = ["", "environments", "Brax's layout, ms", "lanes, ms", "ratio", "compiling each, s"]
    return markdown(head, body)


def peers(argument: str = "peers") -> str:
    """Other libraries beside ours, on the same task at equal networks, batch and replay."""
    body = []
    for row in rows(f"{argument}.csv"):
        brackets = f"{number(row['return'], 4)} ({number(row['return_low'], 4)} .. {number(row['return_high'], 4)})"
        body.append(
            [
                row["name"],
                ratio(row),
                number(row["steps_per_second"], 4),
                number(row["updates_per_second"], 3),
                f"{float(row['compile_seconds']):.0f}",
                f"{int(row['peak_bytes']) / 1e9:.1f} GB",
                f"{brackets}, after {float(row['return_seconds']):.0f} s",
                number(row["return_half"], 4),
            ]
        )
    head = ["", "time of a step, times ours", "environment steps/s", "updates/s", "compiling, s", "peak memory"]
    return markdown([*head, "return (lowest and highest seed)", "at half the time"], body)


def study(argument: str) -> str:
    """The arms of a study of control."""
    body = []
    for row in rows(f"studies/{argument}/table.csv"):
        solved = f"{interval(row, 'solved')}" if row.get("solved") else "-"
        scale = f"`{row['scale_field']}` {row['scale']}" if row["scale_field"] else "-"
        first = number(row.get("first_reward", ""), 3)
        told = [f"`{row['arm']}`", scale, interval(row, "final"), solved, first]
        body.append([*told, interval(row, "coverage"), interval(row, "distance")])
    head = ["arm", "scale", "final return, IQM", "share of seeds that solve", "steps to the first reward, median"]
    return markdown([*head, "cells visited", "action distance"], body)


def deep(argument: str) -> str:
    """Seeds that solve a task of one straight path, and the episodes that it takes them: ``chain``, ``deepsea``."""
    body = []
    for row in rows(f"deep/{argument}.csv"):
        share = f"{row['solved']} of {row['seeds']}"
        if row["share_low"]:
            share += f" [{number(row['share_low'])}, {number(row['share_high'])}]"
        median = interval(row, "median") if row["median"] else "-"
        body.append([row["size"], row["mapping"], f"`{row['arm']}`", share, median])
    return markdown(["N", "mapping", "arm", "seeds that solve it", "episodes to it, median of all seeds"], body)


def sooner(argument: str) -> str:
    """Of two ways to explore, the probability that a seed of the first solves its task sooner: ``chain``."""
    told = json.loads((RESULTS / f"deep/{argument}.json").read_text(encoding="utf-8"))
    body = []
    for row in told["pairs"]:
        bounds = "" if row["low"] is None else f" [{row['low']:.2f}, {row['high']:.2f}]"  # none of a single seed
        arms = (f"`{row[name]}`" for name in ("ours", "theirs"))
        body.append([str(row["size"]), row["mapping"], *arms, f"{row['sooner']:.2f}{bounds}"])
    return markdown(["N", "mapping", "this arm", "and that", "is sooner with probability"], body)


def price() -> str:
    """What noise in weights adds to a training step of each agent; with processor seconds where they were taken."""
    told = rows("price.csv")
    timed = any(row.get("seconds_ratio") for row in told)
    body = [[f"`{row['name']}`", row["agent"], f"{float(row['flops_ratio']):.3f}", f"{float(row['bytes_ratio']):.3f}",
             *([ratio(row, "seconds_ratio")] if timed else [])] for row in told]  # fmt: skip
    return markdown(["preset", "agent", "products", "bytes", *(["processor seconds"] if timed else [])], body)


def fits(argument: str) -> str:
    """Memory that presets need on one device of an accelerator that was not there: ``control``, ``rlvr``."""
    head = ["target", "preset", "program", "GB needed", "of them given up to results", "of its memory", "kernels"]
    head += ["environments", "that fit, at least"] if argument == "control" else []
    body = []
    for row in (row for row in rows("fits.csv") if row["home"] == argument):
        place = [row["target"], f"`{row['preset']}`"]
        if row.get("left_out"):
            body.append([*place, row["left_out"], *["-"] * (len(head) - 3)])
            continue
        program = row["program"] + ("" if argument == "control" or row["arm"] == "none" else ", noise")
        sizes = [f"{float(row[name]) / 1e9:.3g}" for name in ("needed_bytes", "aliased_bytes")]
        share = f"{100 * float(row['share']):.2g} %" + ("" if row["fits"] == "True" else ", **does not fit**")
        counts = [row["kernels"], row["num_envs"], row["largest_num_envs"]][: len(head) - 6]
        body.append([*place, program, *sizes, share, *(f"{int(float(count)):,}" for count in counts)])
    return markdown(head, body)


def untrained() -> str:
    """Share of episodes in which policies that have learnt nothing reach the far end."""
    told = [[row["task"], row["mapping"], row["noise"], f"{int(row['reached']):,} of {int(row['episodes']):,}",
             f"{float(row['share']):.5f} [{float(row['share_low']):.5f}, {float(row['share_high']):.5f}]"]
            for row in rows("deep/untrained.csv")]  # fmt: skip
    return markdown(["task", "mapping", "actions", "episodes", "share"], told)


def commands() -> str:
    """Every study with its seeds, steps and the number of its arms."""
    body = []
    for path in sorted((RESULTS / "studies").glob("*/study.json")):
        found = json.loads(path.read_text())
        task, own = found["control"]["env"]["name"], found["study"]
        sizes = [len(found["arms"]), own["seeds"], own["steps"]]
        body.append([f"`{path.parent.name}`", f"`{task}`", *(f"{size:,}" for size in sizes)])
    return markdown(["study", "task, as it was called", "arms", "seeds", "environment steps"], body)


def halfcheetah() -> str:
    """Return of the default run before and after training, by seed."""
    import numpy as np

    from jaxpsn.stats import statistics

    found = [row for row in rows("halfcheetah/metrics.csv") if row["eval_return"]]
    seeds = sorted({row["seed"] for row in found}, key=int)
    body = []
    for title, place in (("before training", 0), ("after training", -1)):
        ends = [[row for row in found if row["seed"] == seed][place] for seed in seeds]
        values = np.array([float(row["eval_return"]) for row in ends])
        band = statistics.bootstrap(values[:, None], statistics.iqm)
        told = f"{number(band.value, 4)} [{number(band.low, 4)}, {number(band.high, 4)}]"
        body.append([f"{title}, {int(ends[0]['step']):,} steps", *(number(one, 4) for one in values), told])
    return markdown(["seed", *seeds, "interquartile mean"], body)


def countdown() -> str:
    """pass@k of the base and of five trained seeds of the default reasoning run."""
    from jaxpsn.core import text
    from jaxpsn.stats import comparison, evaluations

    folders = sorted((RESULTS / "countdown").glob("seed-*"))
    base = evaluations.read(folders[0] / "evaluations" / "base.json")
    trained = [evaluations.read(folder / "evaluations" / "trained.json") for folder in folders]
    pairs = [comparison.compare(one, base) for one in trained]
    ks = list(pairs[0].difference.ks)
    body = []
    for k in (1, 4, 16, 64, 256):
        place = ks.index(k)
        curves = [base.curve.band, *(pair.our_curve.band for pair in pairs)]
        body.append([f"pass@{k}", *(f"{comparison.point(band, place)[0]:.3f}" for band in curves)])
        gains = [comparison.point(pair.difference.band, place) for pair in pairs]
        body.append([f"minus the base, k = {k}", "", *(text.interval(*gain, signed=True) for gain in gains)])
    distinct = [one.mean_distinct() for one in (base, *trained)]
    body.append(["distinct solutions", *(f"{comparison.point(band, 0)[0]:.2f}" for band in distinct if band)])
    return markdown(["", "base", *(folder.name.replace("-", " ") for folder in folders)], body)


def _percent(row: Row, k: int) -> str:
    return f"{100 * float(row[f'pass_at_{k}']):.1f}"


def reasoning(argument: str = "all") -> str:
    """The arms of the study of reasoning on one task, or their mean over the tasks."""
    contrasts = [row for row in rows("reasoning/contrasts.csv") if row["task"] == argument]
    against = {row["ours"]: row for row in contrasts if row["theirs"] == "grpo" and row["k"] == "256"}
    ks, body = (1, 4, 16, 64, 256), []
    for row in rows("reasoning/table.csv"):
        if row["task"] == argument:
            gain = points(against[row["arm"]]) if row["arm"] in against else "-"
            idle = f"{100 * float(row['zero_advantage']):.0f} %" if row["zero_advantage"] else "-"
            told = [f"`{row['arm']}`", *(_percent(row, k) for k in ks), gain, number(row["distinct"])]
            body.append([*told, idle, number(row["kl"], 3)])
    head = ["arm", *(f"pass@{k}, %" for k in ks), "pass@256 minus GRPO, points", "distinct solutions"]
    return markdown([*head, "groups without advantage", "KL of the noise, nats a token"], body)


def hypotheses() -> str:
    """What the paper says, and what the study says to it."""
    whole: dict[str, list[Row]] = {}
    for row in (one for one in rows("reasoning/hypotheses.csv") if one["task"] == "all"):
        whole.setdefault(row["statement"], []).append(row)
    body = []
    for statement, found in whole.items():
        told = "; ".join(f"`{row['ours']}` minus `{row['theirs']}` at {row['k']}: {points(row)}" for row in found)
        body.append([statement, told, found[0]["whole"]])
    return markdown(["statement", "difference, points", "verdict"], body)


def spectra() -> str:
    """Exponents of the power of what each hold of weight noise does to actions."""
    found = rows("colours/spectra.csv")
    body = ([f"`{row['name']}`", number(row["slope"]), number(row["slope_task"])] for row in found)
    return markdown(("hold", "exponent on one state", "in `sparse_cartpole_swingup`"), body)


TABLES: dict[str, Callable[..., str]] = {
    "acting": acting,
    "answers": evidence.answers,
    "claims": evidence.claims,
    "commands": commands,
    "countdown": countdown,
    "deep": deep,
    "fits": fits,
    "sooner": sooner,
    "halfcheetah": halfcheetah,
    "hypotheses": hypotheses,
    "ladder": evidence.ladder,
    "memory": memory,
    "paths": evidence.paths,
    "peers": peers,
    "physics": physics,
    "price": price,
    "ratios": ratios,
    "reasoning": reasoning,
    "spectra": spectra,
    "startup": startup,
    "study": study,
    "thickets": evidence.thickets,
    "untrained": untrained,
    "when": evidence.when,
}
"""The functions by the names that pages use."""


if __name__ == "__main__":
    for page in pages():
        page.write_text(render(page.read_text()))
