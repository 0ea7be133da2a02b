"""``jaxpsn.compare``: a study in one call, and its tables as plain Python."""

import numpy as np
import pytest

import jaxpsn
from jaxpsn.api import settings
from jaxpsn.control.exploration.family import EXPLORATION
from jaxpsn.core.errors import UserError

SHORT = dict(preset="smoke", seeds=2, steps=320, warmup=64, progress="none")


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "two"
    return jaxpsn.compare(["parameter(target=0.3)", "wide: gaussian(std=0.5)"], **SHORT, folder=folder)


def test_a_study_is_compared_in_one_call(study, capfd):
    assert study.status == "finished" and study.folder.name == "two" and len(study.arms) == 2
    assert study.arms[1] == "wide" and (study.folder / "report.html").is_file()
    rows = study.table()
    assert [row["arm"] for row in rows] == list(study.arms)
    assert all(isinstance(value, int | float | str | None) for row in rows for value in row.values())
    assert study.pairs() and capfd.readouterr().out == ""


def test_the_curves_of_an_arm_are_arrays(study):
    steps, values = study.curve("wide")
    assert values.shape == (len(steps), 2) and np.isfinite(values).all()
    with pytest.raises(UserError, match="arm = 'wid': unknown; nearest: wide"):
        study.metrics("wid")


def test_a_study_goes_on_where_it_lies(study):
    again = jaxpsn.compare(folder=study.folder, resume=True, progress="none")
    assert again.status == "finished" and again.table() == study.table()


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("parameter", "parameter"),
        (EXPLORATION.make("parameter(target=0.3)"), "parameter(scale=multiplicative(target=0.3))"),
        (EXPLORATION.make("pink + gaussian(std=0.1)"), "pink + gaussian(std=0.1)"),
        ("wide: pink(std=1.0)", "wide: pink(std=1.0)"),
    ],
)
def test_arms_are_written_as_rules_are(given, wanted):
    assert settings.arm(given) == wanted


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        (dict(arms=["parametr"]), "study.arms = 'parametr': "),
        (dict(arms=[3]), "arms = 3: texts such as"),
        (dict(env="nope"), "env.name = 'nope'"),
        (dict(seed=-1), "seed = -1"),
        (dict(resume=True), "resume = True: only together with folder"),
        (dict(nope=1), "nope = 1: unknown; nearest"),
    ],
)
def test_what_cannot_be_is_one_line(fields, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as caught:
        jaxpsn.compare(**SHORT | fields)
    assert str(caught.value).startswith(said) and not list(tmp_path.iterdir())
