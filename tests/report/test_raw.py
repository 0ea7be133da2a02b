"""Published studies: from their raw rows, one file each, the same tables are made again, to the last digit."""

import gzip
import io
import shutil
import tarfile
from pathlib import Path

import pytest

from jaxpsn.core.errors import UserError
from jaxpsn.report import build, command
from jaxpsn.report.control.study import report as control
from jaxpsn.report.reasoning.study import report as reasoning
from jaxpsn.report.study import raw

RESULTS = Path(__file__).resolve().parents[2] / "results"
PUBLISHED = [*sorted(path.parent for path in (RESULTS / "studies").glob("*/study.json")), RESULTS / "reasoning"]


@pytest.mark.parametrize("folder", PUBLISHED, ids=lambda path: path.name)
def test_a_published_study_has_equal_numbers(folder):
    found = build.results(folder)
    tables = (reasoning if folder.name == "reasoning" else control).tables(found)
    assert len(tables) >= 2
    for name, table in tables.items():
        assert table == (folder / name).read_text(encoding="utf-8"), name


def test_a_packed_study_is_read_as_the_whole_one(studies, tmp_path):
    folder = studies.realistic(tmp_path / "sparse", seeds=3, points=9)
    shown = build.markdown([folder])
    assert command.main([str(folder), "--pack"]) == 0
    packed = (folder / raw.NAME).read_bytes()
    assert raw.pack(folder).read_bytes() == packed, "the same bytes"
    for name in ("arms", "tuning"):
        shutil.rmtree(folder / name)
    assert build.markdown([folder]) == shown
    assert build.build(folder).is_file() and not (folder / "arms").exists()


def test_a_file_that_leads_out_of_its_place_or_is_torn_is_refused(studies, tmp_path):
    folder = studies.write_study(tmp_path / "s", {"a": None})
    with pytest.raises(UserError, match="runs to pack"):
        raw.pack(folder)
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w:gz") as archive:
        archive.addfile(tarfile.TarInfo("../outside"), io.BytesIO())
    for content in (target.getvalue(), b"torn", gzip.compress(b"x" * 2000)):
        (folder / raw.NAME).write_bytes(content)
        with pytest.raises(UserError, match="cannot be unpacked") as caught:
            build.results(folder)
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "outside").exists()
