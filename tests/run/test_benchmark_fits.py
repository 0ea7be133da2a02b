"""The table of what fits: which programs are compiled, what is kept of them, and that a second call goes on."""

import json

import pytest
from benchmarks import command, compile, fits
from benchmarks.compiler import targets
from benchmarks.fits_options import Fits

from jaxpsn.core.errors import UserError

ROW = {"program": "vector step", "arm": "parameter", "phase": "all", "argument_bytes": 3, "needed_bytes": 5,
       "temporary_bytes": 2, "aliased_bytes": 3, "fits": True, "kernels": 7, "num_envs": 4,
       "largest_num_envs": 9}  # fmt: skip


@pytest.mark.parametrize(
    "line, said",
    [("--targets h20", "nearest: h200"), ("--control smke", "smoke"), ("--rlvr grop", "grpo")],
)
def test_what_cannot_be_compiled_is_refused_in_one_line(line, said):
    with pytest.raises(UserError, match=said) as caught:
        command.parse(["fits", *line.split()])
    assert "\n" not in str(caught.value)


def test_every_preset_is_a_row_and_a_second_call_compiles_what_is_missing(tmp_path, monkeypatch, capsys):
    asked = []

    def compiled(options, target):
        asked.append((target.name, options.home, *options.flags))
        if options.home == "rlvr":
            raise SystemExit(2)
        return [ROW, ROW | {"phase": "act"}]

    monkeypatch.setattr(compile, "compiled", compiled)
    few = Fits(targets=("h200",), control=("smoke",), rlvr=("grpo",), out=tmp_path)
    fits.run(few)
    fits.run(Fits(targets=("h200", "v5e:2x2"), control=("smoke",), rlvr=("grpo",), out=tmp_path))
    flags = ("--preset", "smoke"), ("--preset", "grpo")
    places = [("control", *flags[0]), ("rlvr", *flags[1])]
    assert asked == [(target, *place) for target in ("h200", "v5e:2x2") for place in places]
    rows = json.loads((tmp_path / "fits.json").read_text())["rows"]
    assert [row["preset"] for row in rows] == ["smoke", "grpo"] * 2
    assert rows[0]["share"] == 5 / targets.parse("h200").memory and rows[0]["largest_num_envs"] == 9
    assert rows[1]["left_out"].endswith("status 2") and "4 environments, 9 fit" in capsys.readouterr().out
    assert (tmp_path / "fits.svg").exists()
