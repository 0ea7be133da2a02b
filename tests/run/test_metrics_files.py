"""The two files of metrics mend each other when a run goes on; only rows beyond the checkpoint ever go."""

import json

import pytest

from jaxpsn.core.errors import UserError
from jaxpsn.run.loggers import lines
from jaxpsn.run.loggers.metrics import MetricsFiles

COLUMNS = ("step", "seed", "updates", "loss", "reward", "eval_return", "seconds", "steps_per_second")
KEPT = 60


def row(step, seed):
    updates = None if step == 20 else step // 2  # as of the row before the first chunk
    values = {"step": step, "seed": seed, "updates": updates, "loss": 1 / (step + seed + 3), "reward": None}
    judged = float(step) if step % 40 == 0 else None
    return values | {"eval_return": judged, "seconds": round(step / 7, 3), "steps_per_second": step * 1e7 / 3}


@pytest.fixture
def run(tmp_path):
    """``run(upto) -> folder`` with rows of two seeds up to a step."""

    def make(upto=KEPT, columns=COLUMNS):
        opened = MetricsFiles(tmp_path / "metrics.csv", -1)
        opened.begin(columns)
        opened.write([row(step, seed) for step in range(20, upto + 1, 20) for seed in (0, 1)])
        opened.close()
        return tmp_path

    return make


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def resume(folder, expected=6, columns=COLUMNS, kept=KEPT):
    opened = MetricsFiles(folder / "metrics.csv", kept, expected)
    opened.begin(columns)
    assert opened.rows == 6
    opened.sync()
    opened.close()
    return opened.notes


def altered(name, change):
    def spoil(folder):
        (folder / name).write_bytes(change((folder / name).read_bytes()))

    return spoil


def gone(name):
    return lambda folder: (folder / name).unlink()


def line(number, text):
    def change(data):
        rows = data.split(b"\n")
        rows[number] = text(rows[number])
        return b"\n".join(rows)

    return change


DAMAGES = {
    "csv deleted": gone("metrics.csv"),
    "csv emptied": altered("metrics.csv", lambda data: b""),
    "csv with CRLF": altered("metrics.csv", lambda data: data.replace(b"\n", b"\r\n")),
    "csv with a BOM": altered("metrics.csv", lambda data: b"\xef\xbb\xbf" + data),
    "csv without its last end of line": altered("metrics.csv", lambda data: data[:-1]),
    "csv without its last two digits": altered("metrics.csv", lambda data: data[:-3]),
    "csv cut in its second row": altered("metrics.csv", lambda data: data[: data.index(b"\n20,1") + 12]),
    "csv with a bad cell": altered("metrics.csv", line(2, lambda row: row.replace(b",0.", b",zero."))),
    "csv with a bad step": altered("metrics.csv", line(1, lambda row: b"#" + row)),
    "csv with a cell too many": altered("metrics.csv", line(5, lambda row: row + b",1")),
    "csv with a row doubled": altered("metrics.csv", line(3, lambda row: row + b"\n" + row)),
    "csv with its first rows gone": altered("metrics.csv", lambda data: data[data.index(b"\n40,0") + 1 :]),
    "csv with a spoilt header": altered("metrics.csv", line(0, lambda row: row.replace(b"loss", b"lozz"))),
    "csv with nulls": altered("metrics.csv", line(4, lambda row: b"\0" * len(row))),
    "jsonl with CRLF": altered("metrics.jsonl", lambda data: data.replace(b"\n", b"\r\n")),
    "jsonl without its last end of line": altered("metrics.jsonl", lambda data: data[:-1]),
}


@pytest.mark.parametrize("expected", [0, 6])
@pytest.mark.parametrize("damage", DAMAGES)
def test_whatever_becomes_of_one_file_the_other_has_its_rows(run, damage, expected):
    folder = run()
    whole = contents(folder)
    DAMAGES[damage](folder)
    resume(folder, expected)
    assert contents(folder) == whole


@pytest.mark.parametrize("spoil", [
    gone("metrics.jsonl"), altered("metrics.jsonl", lambda data: data[:100]),
    altered("metrics.jsonl", line(2, lambda row: b"[1]")), altered("metrics.jsonl", line(0, lambda row: b"[" * 50_000)),
    altered("metrics.jsonl", line(1, lambda row: row.replace(b'"seed": 1', b'"seed": "1"'))),
    altered("metrics.jsonl", line(4, lambda row: row.replace(b'"loss": 0', b'"loss": true, "x": 0'))),
])  # fmt: skip
def test_the_rows_of_the_table_come_back_to_the_log_in_nine_digits(run, spoil):
    folder = run()
    table = (folder / "metrics.csv").read_bytes()
    spoil(folder)
    notes = resume(folder)
    assert len(notes) == 1 and "metrics.jsonl were lost or damaged; restored from metrics.csv" in notes[0]
    assert (folder / "metrics.csv").read_bytes() == table
    found = [json.loads(text) for text in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [(one["step"], one["seed"]) for one in found] == [(step, seed) for step in (20, 40, 60) for seed in (0, 1)]
    wanted = [{name: v for name, v in row(one["step"], one["seed"]).items() if v is not None} for one in found]
    assert [one.keys() for one in found] == [one.keys() for one in wanted]
    for one, other in zip(found, wanted, strict=True):
        assert one == pytest.approx(other, rel=1e-8)


def test_only_rows_beyond_the_checkpoint_go(run):
    folder = run()
    whole = contents(folder)
    run(100)
    beyond = contents(folder)
    (folder / "metrics.csv").write_bytes(beyond["metrics.csv"][:-9])
    opened = MetricsFiles(folder / "metrics.csv", KEPT, 6)
    opened.begin(COLUMNS)
    assert contents(folder)["metrics.jsonl"] == beyond["metrics.jsonl"]  # looking changes nothing
    opened.write([row(step, seed) for step in (80, 100) for seed in (0, 1)])
    opened.close()
    assert contents(folder) == beyond and opened.notes == ()
    assert resume(folder) == () and contents(folder) == whole


@pytest.mark.parametrize(("spoil", "expected", "said"), [
    (lambda folder: [gone("metrics.csv")(folder), gone("metrics.jsonl")(folder)], 6, "6 of 6 rows up to step 60"),
    (lambda folder: [gone("metrics.csv")(folder), gone("metrics.jsonl")(folder)], 0, "the row of step 60"),
    (lambda folder: [altered(name, lambda data: data[: len(data) // 2])(folder) for name in contents(folder)], 0,
     "the row of step 60"),
    (lambda folder: [altered("metrics.csv", line(3, lambda row: b"?"))(folder),
                     altered("metrics.jsonl", line(2, lambda row: b"?"))(folder)], 0, "1 of 6 rows"),
    (lambda folder: [altered("metrics.csv", lambda data: data.replace(b"\n40", b"\n40x"))(folder),
                     altered("metrics.jsonl", lambda data: data.replace(b'": 40', b'": null'))(folder)], 6, "2 of 6"),
])  # fmt: skip
def test_rows_that_neither_file_has_are_not_passed_over(run, spoil, expected, said):
    folder = run()
    spoil(folder)
    before = contents(folder)
    with pytest.raises(UserError) as caught:
        MetricsFiles(folder / "metrics.csv", KEPT, expected)
    assert said in str(caught.value) and "\n" not in str(caught.value)
    assert contents(folder) == before


def test_columns_of_evaluations_may_come_and_go(run):
    plain = tuple(name for name in COLUMNS if name != "eval_return")
    folder = run()
    whole = contents(folder)
    resume(folder, columns=plain)  # none from here on: the column stays
    assert contents(folder) == whole
    for spoil in (gone("metrics.csv"), DAMAGES["csv with a spoilt header"]):
        spoil(folder)
        resume(folder, columns=plain)
        assert contents(folder) == whole
    run(columns=plain)
    assert b"eval" not in contents(folder)["metrics.csv"]
    gone("metrics.jsonl")(folder)
    resume(folder, columns=COLUMNS)
    text = (folder / "metrics.csv").read_text()
    assert text.splitlines()[0] == ",".join(COLUMNS) and text.splitlines()[1].split(",")[5] == ""


def test_other_columns_are_refused(run):
    folder = run()
    before = contents(folder)
    other = (*COLUMNS[:3], "q", *COLUMNS[4:])
    opened = MetricsFiles(folder / "metrics.csv", KEPT, 6)
    with pytest.raises(UserError, match=r"metrics.csv.*columns step,seed,updates,q"):
        opened.begin(other)
    assert contents(folder) == before


@pytest.mark.parametrize("name", ["metrics.csv", "metrics.jsonl"])
def test_a_link_is_not_written_through(run, tmp_path_factory, name):
    folder, outside = run(), tmp_path_factory.mktemp("other") / "precious.txt"
    outside.write_text("mine\n")
    (folder / name).unlink()
    (folder / name).symlink_to(outside)
    with pytest.raises(UserError, match=f"{name}.*links are not followed"):
        MetricsFiles(folder / "metrics.csv", KEPT, 6)
    assert outside.read_text() == "mine\n"


# Logs without a twin: samples, events.


def samples(path, kept=-1, upto=3):
    log = lines.RowLog(path, kept)
    log.write([{"step": step, "text": str(number)} for step in range(kept + 1, upto + 1) for number in range(2)])
    log.sync()
    log.close()


def counted(folder):
    return lines.Ledger(folder, ("events.jsonl",)).count()


@pytest.mark.parametrize("damage", [
    lambda data: data.replace(b"\n", b"\r\n"), lambda data: data[:-1], lambda data: data + b'{"step": 4, "te',
    lambda data: data.replace(b'{"step": 1, "text": "0"}', b"spoilt"),
])  # fmt: skip
def test_what_stands_in_a_log_stays_whatever_lies_between(tmp_path, damage):
    path = tmp_path / "samples.jsonl"
    samples(path)
    told, data = counted(tmp_path), path.read_bytes()
    path.write_bytes(damage(data))
    lines.Ledger(tmp_path, ()).refuse_lost(told, 3)
    samples(path, 3, 4)
    found = path.read_bytes().replace(b"\r\n", b"\n").replace(b"spoilt", b'{"step": 1, "text": "0"}')
    assert found == data + b'{"step": 4, "text": "0"}\n{"step": 4, "text": "1"}\n'


@pytest.mark.parametrize("damage", [lambda data: b"", lambda data: data[:60], lambda data: data[data.index(b"\n") :]])
def test_a_log_that_lost_rows_is_refused_by_its_name(tmp_path, damage):
    path = tmp_path / "samples.jsonl"
    samples(path)
    told = counted(tmp_path)
    path.write_bytes(damage(path.read_bytes()).lstrip(b"\n"))
    with pytest.raises(UserError, match=r"of 8 rows of samples.jsonl up to step 3 are gone"):
        lines.Ledger(tmp_path, ()).refuse_lost(told, 3)
    path.unlink()
    with pytest.raises(UserError, match=r"8 of 8 rows of samples.jsonl"):
        lines.Ledger(tmp_path, ()).refuse_lost(told, 3)


def test_rows_beyond_the_checkpoint_are_not_counted_as_those_before_it(tmp_path):
    path = tmp_path / "samples.jsonl"
    samples(path)
    told = counted(tmp_path)
    samples(path, 3, 9)
    rows = path.read_bytes().splitlines(keepends=True)
    lines.Ledger(tmp_path, ()).refuse_lost(told, 3)
    path.write_bytes(b"".join(rows[:2] + rows[3:]))
    with pytest.raises(UserError, match=r"1 of 8 rows"):
        lines.Ledger(tmp_path, ()).refuse_lost(told, 3)


def test_an_event_without_its_end_of_line_stays(tmp_path):
    path = tmp_path / "events.jsonl"
    first = lines.EventLog(path)
    first.write(0, "start")
    first.close()
    path.write_bytes(path.read_bytes()[:-1])
    log = lines.EventLog(path, held=True)
    log.write(5, "resume")
    assert not path.read_bytes().endswith(b"\n")
    log.release()
    log.write(6, "checkpoint")
    log.close()
    assert [json.loads(text)["event"] for text in path.read_text().splitlines()] == ["start", "resume", "checkpoint"]
    assert lines.happened(path, "checkpoint") and not lines.happened(path, "stop")
