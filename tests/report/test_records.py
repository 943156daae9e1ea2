"""Records and their files: what is written is what is read, in full or not at all."""

import csv
import math
import sys
from array import array
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.report.build import report, served, three

from hasten.errors import InputError
from hasten.report import files
from hasten.report.gaps import Gaps
from hasten.report.records import COLUMNS, Records, Status

times = st.floats(0, 1e6, allow_subnormal=False)
counts = st.integers(0, 2**31 - 1)
records_of_any_kind = st.lists(
    st.tuples(
        times,
        times,
        times,
        counts,
        counts,
        st.sampled_from(list(Status)),
        st.booleans(),
        st.integers(-1, 2**62),
    ),
    max_size=12,
).map(
    lambda rows: Records(
        arrival=[row[0] for row in rows],
        queued=[row[0] if row[6] else math.nan for row in rows],
        first_token=[row[0] + row[1] if row[5] is Status.OK else math.nan for row in rows],
        finish=[row[0] + row[1] + row[2] if row[5] is Status.OK else math.nan for row in rows],
        prompt_tokens=[row[3] for row in rows],
        output_tokens=[row[4] for row in rows],
        status=[row[5] for row in rows],
        session=[row[7] for row in rows],
    )
)


def test_a_drivers_arrays_are_not_copied() -> None:
    arrival = array("d", [0.0, 1.0])
    tokens = array("i", [5, 6])
    records = Records(
        arrival=arrival, first_token=arrival, finish=arrival, prompt_tokens=tokens, output_tokens=tokens
    )
    assert np.shares_memory(records.arrival, np.frombuffer(arrival))
    assert records.prompt_tokens.tolist() == [5, 6]
    assert records.id.tolist() == [0, 1]


def test_negative_times_mean_did_not_happen() -> None:
    records = three()
    assert math.isnan(records.first_token[2])
    assert math.isnan(records.scheduled[0])
    assert repr(records) == "Records(3 requests, 2 served)"
    assert records.duration == 2.0


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"colour": [1]}, "unknown request column 'colour'"),
        ({"replica": [1, 2]}, r"replica has shape \(2,\), arrival has 1 rows"),
        ({"first_token": [-1.0]}, "request 0 counts as served"),
        ({"finish": [0.1]}, "finish 0.1 s does not hold"),
        ({"finish": [math.inf]}, "request 0 counts as served"),
        ({"arrival": [math.nan]}, "request 0 has arrival nan"),
    ],
)
def test_impossible_records_are_refused(columns: dict, message: str) -> None:
    good = {
        "arrival": [0.0],
        "first_token": [0.5],
        "finish": [1.0],
        "prompt_tokens": [1],
        "output_tokens": [2],
    }
    with pytest.raises(InputError, match=message):
        Records(**good | columns)


def test_a_window_of_records_takes_its_gaps_along_if_they_have_times() -> None:
    records = served((0.0, 1.0, 2.0, 1, 3), (5.0, 6.0, 7.0, 1, 3))
    records.gaps = Gaps([0.5, 0.4], [0, 0], [2, 2], [1, 1], start=[1.0, 6.0])
    later = records.between(5, 10)
    assert later.id.tolist() == [1]
    assert later.gaps is not None
    assert later.gaps.percentiles([50]) == [0.4]
    records.gaps = Gaps.from_values([0.5])
    assert records.between(5, 10).gaps is None


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@given(records=records_of_any_kind)
def test_files_read_back_as_they_were(
    tmp_path_factory: pytest.TempPathFactory, suffix: str, records: Records
) -> None:
    path = tmp_path_factory.mktemp("records") / f"requests{suffix}"
    files.save_requests(records, path)
    back = files.load_requests(path)
    for name in COLUMNS:
        np.testing.assert_array_equal(getattr(back, name), getattr(records, name), strict=True)
    assert [child.name for child in path.parent.iterdir()] == [path.name]


def test_csv_has_units_words_and_derived_latencies(tmp_path: Path) -> None:
    path = tmp_path / "requests.csv"
    report(three()).save_requests(path)
    with path.open(newline="") as file:
        first, second, third = csv.DictReader(file)
    assert first["arrival_s"] == "0.0"
    assert (first["ttft_s"], first["tpot_s"], first["e2e_s"]) == ("0.5", "0.1", "1.5")
    assert (second["status"], second["tpot_s"], second["cached_tokens"]) == ("ok", "", "150")
    assert (third["status"], third["ttft_s"], third["first_token_s"]) == ("rejected", "", "")


def test_a_failed_write_leaves_the_old_file_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "requests.csv"
    path.write_text("old")

    def fail(*_: object) -> list[object]:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files, "_cells", fail)
    with pytest.raises(InputError, match=r"requests\.csv: can't write: No space left on device"):
        files.save_requests(three(), path)
    assert path.read_text() == "old"
    assert [child.name for child in tmp_path.iterdir()] == ["requests.csv"]


def test_parquet_without_pyarrow_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(InputError, match=r"Parquet needs pyarrow: pip install 'hasten\[report\]'"):
        files.save_requests(three(), tmp_path / "requests.parquet")
    assert list(tmp_path.iterdir()) == []


HEADER = "request_id,arrival_s,first_token_s,finish_s,prompt_tokens,output_tokens,status\n"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", "", "unknown request format '.txt': use .csv or .parquet"),
        ("a.csv", "", "column 'arrival_s' is missing"),
        ("a.csv", "arrival_s,finish_s\n0,1\n", "column 'first_token_s' is missing"),
        ("a.csv", HEADER + "0,0,1\n", "line 2: 3 fields, the header has 7"),
        ("a.csv", HEADER + "0,0,1,2,5,3,ok\n1,x,1,2,5,3,ok\n", "line 3: arrival_s = 'x' is not a number"),
        ("a.csv", HEADER + "0,0,1,2,5.5,3,ok\n", "line 2: prompt_tokens = '5.5' is not a number"),
        (
            "a.csv",
            HEADER + "0,0,1,2,99999999999,3,ok\n",
            "line 2: prompt_tokens = '99999999999' is not a number",
        ),
        ("a.csv", HEADER + "0,0,1,2,5,3,fine\n", "status = 'fine' is not one of ok, rejected, unfinished"),
        ("a.csv", HEADER + "7,2,1,2,5,3,ok\n", "request 7 counts as served, but arrival 2 s"),
        ("a.csv", b"\xff\xfe\x00", "not a CSV file"),
        ("a.parquet", "PAR", "not a Parquet file"),
    ],
)
def test_files_that_are_no_records_are_refused(
    tmp_path: Path, name: str, content: str | bytes, message: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(InputError) as caught:
        files.load_requests(path)
    text = str(caught.value)
    assert message in text
    assert text.startswith(str(path))
    assert "\n" not in text


def test_missing_places_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        files.load_requests(tmp_path / "none.csv")
    with pytest.raises(InputError, match="does not exist: create it"):
        files.save_requests(three(), tmp_path / "none" / "requests.csv")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(InputError, match="can't write"):
        files.write_text(tmp_path / "folder.csv", "text")
