"""Whatever stands on a command line: it is understood, or refused in one short line with the nearest flag first."""

import random
import re

import pytest
from benchmarks import command as benchmarks

from jaxpsn.core import errors
from jaxpsn.core.errors import LONGEST, UserError
from jaxpsn.run import command
from jaxpsn.run.jobs import control, evaluate, rlvr
from jaxpsn.study.kinds import control as study
from jaxpsn.study.kinds import reasoning as reasoning_study

PARSERS = {
    "control": lambda argv: command.parse(control.ControlJob, control.PRESETS, argv, control.restore, ""),
    "rlvr": lambda argv: command.parse(rlvr.RlvrJob, rlvr.PRESETS, argv, rlvr.restore, ""),
    "compare": lambda argv: command.parse(study.StudyJob, study.PRESETS, argv, study.restore, ""),
    "rlvr_compare": lambda argv: command.parse(
        reasoning_study.ReasoningStudyJob, reasoning_study.PRESETS, argv, reasoning_study.restore, ""
    ),
    "evaluate": lambda argv: command.flags(evaluate.EvaluateJob, argv, evaluate.EvaluateJob(), ""),
}
VALUES = (
    "", "0", "-1", "1e400", "9" * 5000, "nan", "x", "x" * 4000, "\u00e9\n\t\0", "None", "True", "--", "-", "=", "{}",
    "a,b=c", "[1,", "../..", "*", "%s%n{0}",
)  # fmt: skip
SAMPLES = 16


def flags(parser, capsys):
    """Every flag that ``--help-all`` tells of."""
    with pytest.raises(SystemExit):
        PARSERS[parser](["--help-all"])
    return sorted(set(re.findall(r"--[a-z][a-z0-9.-]+[a-z0-9]", capsys.readouterr().out)))


def short(error):
    text = str(error)
    assert 0 < len(text) <= LONGEST and len(text.splitlines()) == 1, text
    return text


@pytest.mark.parametrize("parser", PARSERS)
def test_nothing_on_a_command_line_is_answered_at_length(parser, capsys):
    known, rng, refused = flags(parser, capsys), random.Random(parser), 0
    for _ in range(SAMPLES):
        argv = []
        for _ in range(rng.randint(1, 4)):
            flag = rng.choice(known)
            if rng.random() < 0.4:
                place = rng.randrange(2, len(flag))
                flag = flag[:place] + rng.choice("abxyz.-_=9") + flag[place + rng.randint(0, 1) :]
            argv += [flag, *rng.choices(VALUES, k=rng.randint(0, 2))]
        try:
            PARSERS[parser](argv)
        except UserError as error:
            short(error)
            refused += 1
        except SystemExit as stop:  # --help-all among them
            assert stop.code == 0
    capsys.readouterr()
    assert refused > SAMPLES // 2


@pytest.mark.parametrize("parser", PARSERS)
def test_a_slip_of_the_pen_names_the_flag_that_was_meant(parser, capsys):
    known, rng = flags(parser, capsys), random.Random(parser)
    long = [flag for flag in known if len(flag) > 8 and "no-" not in flag]
    for flag in rng.sample(long, 2):
        place = rng.randrange(4, len(flag) - 1)
        slip = flag[:place] + flag[place + 1 :]
        if slip in known:
            continue
        with pytest.raises(UserError) as caught:
            PARSERS[parser]([slip, "3", "--nonsense"])
        text = short(caught.value)
        assert text.startswith(f"{slip}: unknown; nearest: {flag}") and text.endswith("(and 1 more that are unknown)")


@pytest.mark.parametrize("argv", [["learning", "--nonsens", "1"], ["x" * 3000], [], ["learning", "y" * 3000]])
def test_benchmarks_refuse_at_no_length(argv, capsys):
    with pytest.raises((UserError, SystemExit)) as caught:
        benchmarks.main(argv)
    if isinstance(caught.value, UserError):
        short(caught.value)
    capsys.readouterr()


def test_every_message_keeps_its_beginning_and_its_end():
    assert errors.short("a  b\nc") == "a b c"
    text = errors.short("x" * 1000 + "y" * 1000)
    assert len(text) == LONGEST and text.startswith("xxx") and text.endswith("yyy") and " ... " in text
    with pytest.raises(UserError) as caught:
        errors.refuse("field", "v" * 10_000, "what is allowed")
    assert str(caught.value).startswith("field = 'vvv") and str(caught.value).endswith("v': what is allowed")
    with pytest.raises(UserError) as caught:
        errors.refuse("f" * 900, ["v"] * 900, "a" * 900)
    assert len(str(caught.value)) <= LONGEST
    with pytest.raises(UserError, match=r"^n = int: a number$"):
        errors.refuse("n", 10**5000, "a number")
    with pytest.raises(UserError, match=r"^runs/a: f = 3: a text$"), errors.within("runs/a"):
        errors.refuse("f", 3, "a text")
