"""A model with a dated chat template: on any later day a run is resumed, replayed and judged with its own prompts."""

import json

import jax
import pytest

from jaxpsn.lm import model
from jaxpsn.lm.config import DecoderConfig
from jaxpsn.lm.folders import hub
from jaxpsn.lm.templates import clock
from jaxpsn.run import startup
from jaxpsn.run.jobs import evaluate, rlvr
from tests.lm.test_transformers import numbered, write

DATED = (
    "{% for m in messages %}<|go|>{{ m.role }} {{ strftime_now('%d %b') }}\n{{ m.content }}<|stop|>{% endfor %}"
    "{% if add_generation_prompt %}<|go|>{% if terse is defined and terse %}so {% endif %}{% endif %}"
)
DAY = "20{}-01-05T10:00:00+00:00"
FLAGS = (
    "--rollout.prompts", "2", "--rollout.samples", "2", "--rollout.max-prompt", "80", "--rollout.max-tokens", "4",
    "--noise", "none", "--algorithm.learning-rate", "0.01",
    "--evaluation.problems", "2", "--evaluation.samples", "2", "--evaluation.monitor-problems", "2",
    "--evaluation.monitor-samples", "2", "--verifier", "integer", "--eval-every", "0", "--checkpoint-every", "1",
    "--template.variables", "terse", "true", "--template.ends", "<|y|>", "--progress", "none",
)  # fmt: skip


@pytest.fixture
def day(monkeypatch):
    """``day(year)``: from now on it is another one."""

    def run(year):
        monkeypatch.setattr(clock, "now", lambda: DAY.format(year))

    return run


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with a small random model, problems, and room for runs."""
    home = tmp_path_factory.mktemp("home")
    decoder = DecoderConfig(300, 16, 32, 1, 2, 2, 8, max_positions=128, family="llama")
    hub.save(home / "plain", decoder, model.init(decoder, jax.random.key(0)))
    config = json.loads((home / "plain" / "config.json").read_text()) | {"eos_token_id": 10}
    own = {"added_tokens_decoder": numbered("<|go|>", "<|stop|>", "<|y|>"), "chat_template": DATED}
    write(home / "plain", own=own, config=config)
    rows = [json.dumps({"problem": f"{one} + 1 =", "answer": str(one + 1)}) for one in range(8)]
    (home / "sums.jsonl").write_text("\n".join(rows))
    return home


def train(home, *flags):
    return startup.main_guard(rlvr.main)([*flags, "--out", str(home / "runs")])


def judge(*flags):
    return startup.main_guard(evaluate.main)([*map(str, flags), "--progress", "none"])


def started(home, *flags):
    return train(home, "--model", str(home / "plain"), "--data", str(home / "sums.jsonl"), *FLAGS, *flags)


def test_the_day_of_the_start_is_the_day_of_the_run(home, day, tmp_path, capsys):
    day(31)
    assert started(home, "--name", "whole", "--steps", "2") == 0
    assert started(home, "--name", "cut", "--steps", "1") == 0
    day(44)
    assert train(home, "--resume", str(home / "runs" / "cut"), "--steps", "2", "--progress", "none") == 0
    whole, cut = home / "runs" / "whole", home / "runs" / "cut"
    told = json.loads((cut / "config.json").read_text())["config"]["template"]
    assert told == {"variables": {"terse": "true"}, "clock": DAY.format(31), "ends": ["<|y|>"]}
    assert (whole / "samples.jsonl").read_bytes() == (cut / "samples.jsonl").read_bytes()

    def metrics(run):
        rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        return [(row["step"], row["loss"], row["grad_norm"]) for row in rows]

    assert metrics(whole) == metrics(cut)
    day(45)
    capsys.readouterr()
    assert judge("--replay", cut) == 0
    said = capsys.readouterr().out
    assert "nothing differs" in said and "answers scored anew with checkpoint 1" in said
    # Its own time again, and for a folder that of this command: all of it stands in the file.
    asked = ("--problems", "2", "--samples", "2", "--max-tokens", "4", "--max-prompt", "80")
    assert judge("--policy", cut, *asked, "--out", tmp_path) == 0
    told = json.loads((tmp_path / "evaluations" / "cut-step-000002.json").read_text())["prompt"]
    assert told["clock"] == DAY.format(31) and told["variables"] == {"terse": "true"}
    assert told["ends"][-1] == "<|y|>" and "<|stop|>" in told["ends"]
    data = ("--data", home / "sums.jsonl", "--verifier", "integer")
    assert judge("--policy", home / "plain", *data, *asked, "--out", tmp_path) == 0
    told = json.loads((tmp_path / "evaluations" / "plain.json").read_text())["prompt"]
    assert told["clock"] == DAY.format(45) and told["variables"] == {} and "<|y|>" not in told["ends"]
    # Another time is another run.
    capsys.readouterr()
    again = ("--resume", str(cut), "--steps", "3", "--progress", "none")
    assert train(home, *again, "--template.clock", DAY.format(51)) == 2
    assert train(home, *again, "--template.ends", "<|go|>") == 2
    assert judge("--replay", cut, "--template.clock", DAY.format(51)) == 2
    assert judge("--replay", cut, "--system", "Count.") == 2
    said = capsys.readouterr().err
    assert f"template.clock = '{DAY.format(51)}' (was '{DAY.format(31)}')" in said
    assert "template.ends = " in said and "system = 'Count.': not together with replay" in said


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--template.variables", "tersely", "true"), "variable 'tersely' of the chat template: unknown; nearest"),
        (("--template.ends", "<|stoop|>"), "template.ends = '<|stoop|>': unknown; nearest: <|stop|>"),
        (("--template.clock", "noon"), "template.clock = 'noon': a time like"),
    ],
)
def test_a_setting_that_does_nothing_is_refused_before_there_is_a_folder(home, capsys, flags, message):
    assert started(home, "--name", "refused", "--steps", "1", *flags) == 2
    assert judge("--policy", home / "plain", "--data", home / "sums.jsonl", *flags) == 2
    said = capsys.readouterr().err
    assert said.count(message) == 2 and not (home / "runs" / "refused").exists()
