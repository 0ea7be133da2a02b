"""The command ``jaxpsn export``: a reasoning run's policy as a Hugging Face folder, perturbations as PEFT folders.

``DIR/model`` is the clean policy of the checkpoint, ``DIR/member-000`` and so on are the perturbations that the first
members of the next step have, at the scale of the checkpoint: adapters of ``DIR/model``. Of a run that trains adapters
``DIR/model`` is the frozen model, ``DIR/adapter`` what was trained, and each member holds both. Nothing is written
where one of them cannot be.
"""

import argparse
import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from jaxpsn.core import checks, errors, files
from jaxpsn.run import progress, startup, status
from jaxpsn.run.reasoning import origins

MODEL = "model"


class _Parser(argparse.ArgumentParser):
    """A parser whose complaints are one line of ours."""

    def error(self, message: str) -> NoReturn:
        errors.refuse("arguments", message, "RUN [--members N] [--sigma X] [--out DIR]; see --help")


def _parsed(arguments: Sequence[str]) -> argparse.Namespace:
    parser = _Parser(prog="jaxpsn export", description=__doc__, formatter_class=argparse.RawTextHelpFormatter,
                     allow_abbrev=False)  # fmt: skip
    parser.add_argument("run", metavar="RUN", help="a run folder, RUN:STEP or RUN:base")
    parser.add_argument("--members", type=int, help="perturbations that are written (default: those of a step)")
    parser.add_argument("--sigma", type=float, help="their scale (default: the run's at that checkpoint)")
    parser.add_argument("--out", type=Path, help="where to (default: NAME-export)")
    found = parser.parse_args(arguments)
    if found.members is not None:
        checks.whole("members", found.members, 0, 1 << 12)
    if found.sigma is not None:
        checks.real("sigma", found.sigma, 0.0, 100.0)
    return found


def main(argv: Sequence[str]) -> int:
    """Write what ``argv`` asks for; returns the exit status. Raises UserError."""
    asked = _parsed(argv)
    origin = origins.find("run", asked.run)
    if origin.kind not in ("run", "base"):
        errors.refuse("run", asked.run, "a run folder, RUN:STEP or RUN:base")
    out = asked.out or Path(f"{origin.label().removesuffix('-step-000000')}-export")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        errors.refuse("out", str(out), "a folder that is not there yet")
    partial = files.partial(out.absolute())
    with contextlib.closing(progress.make("auto")) as show:
        try:
            partial.mkdir(parents=True)
            lines = _written(asked, origin, out, partial, show)
            if out.exists():
                out.rmdir()
            partial.rename(out)
        except OSError as error:
            raise errors.UserError(f"{out}: not written ({error.strerror or error})") from None
        finally:
            with contextlib.suppress(OSError):
                files.remove(partial)
    startup.result("\n".join(lines))
    return status.DONE


def _written(asked: Any, origin: Any, out: Path, into: Path, show: progress.Progress) -> list[str]:
    with show.phase("loading JAX"):
        from jaxpsn.adapters import peft
        from jaxpsn.rlvr import base as bases
        from jaxpsn.rlvr.placement import Placement
        from jaxpsn.run import draws
        from jaxpsn.run.reasoning import judging

        draws.fix()
    config = origin.config
    one = judging.candidate("run", origin, config)
    members = config.members if asked.members is None else asked.members
    perturbation = _perturbation(one, members)
    place, own = Placement(None), {}
    if origin.kind == "run" and config.lora.rank:
        found = judging.checkpointed(one, place, show)
        own = peft.trained(found.params, config.lora.scale)
        found = found._replace(params=judging.frozen(one, place, show))
    else:
        found = judging.weights(one, place, config.dtype, show)
    with show.phase("writing"):
        bases.save(into / MODEL, one.form, found.params)
        if own:
            peft.write(into / "adapter", own, str((out / MODEL).absolute()))
        _write_members(asked, origin, perturbation, found, own, out, into)
    told = [f"written: {out / MODEL}, {'frozen, of ' if own else 'the clean policy of '}step {found.step or 0}"]
    told += [f"written: {out}/adapter, what was trained"] if own else []
    if perturbation is not None:
        last = f" to member-{members - 1:03}" if members > 1 else ""
        told.append(f"written: {out}/member-000{last}, LoRA adapters of it")
    return told


def _perturbation(one: Any, members: int) -> Any:
    """What is drawn for ``members``, None for none of them; refuses what no adapter can hold."""
    from jaxpsn.adapters import peft
    from jaxpsn.core.components import called
    from jaxpsn.rlvr import sizes
    from jaxpsn.rlvr.exploration import perturbation

    if not members:
        return None
    asked = one.config.noise
    if not asked.members(members):
        errors.refuse("members", members, f"0, as {one.name} was trained with noise = {called(type(asked))}")
    found = perturbation.plan(asked, one.form.decoder, sizes.weights(one.form.decoder), members, 1)
    peft.check(found)
    return found


def _write_members(asked: Any, origin: Any, perturbation: Any, found: Any, own: Any, out: Path, into: Path) -> None:
    import jax

    from jaxpsn.adapters import peft

    if perturbation is None:
        return
    sigma = found.sigma if asked.sigma is None else asked.sigma
    draw = perturbation.draw(jax.random.key(origin.job.run.seed), found.step or 0)
    for member in range(perturbation.members):
        pairs = peft.pairs(perturbation, found.params, draw, sigma, member)
        pairs = peft.together(own, pairs) if own else pairs
        peft.write(into / f"member-{member:03}", pairs, str((out / MODEL).absolute()))
