import io
from pathlib import Path

import pytest

from spanmeter.cli.progress import Counted, Line, Watched, fitted
from spanmeter.wire.files import Piece


def piece(path: Path, position: int) -> Piece:
    return Piece(path=str(path), place="", body=b"", is_json=False, position=position)


def watching(*paths: Path) -> Watched:
    return Watched([str(path) for path in paths], io.StringIO(), shown=True, counts=lambda: (12_345, 2_000))


def read(watched: Watched, *pieces: Piece) -> None:
    assert list(watched.through(pieces)) == [*pieces]


def test_bytes_of_all_files_and_the_time_left(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_bytes(bytes(3_000_000))
    two.write_bytes(bytes(7_000_000))
    watched = watching(one, two, one)
    read(watched, piece(one, 3_000_000), piece(two, 4_000_000))
    assert ", ".join(watched.parts(70.0)) == "7 of 13 MB, 12,345 spans, 2,000 events, 0.1 MB/s, 1:00 left"
    read(watched, piece(two, 7_000_000), piece(one, 1_000_000))
    assert watched.parts(1.0)[0] == "11 of 13 MB"


def test_a_pipe_has_no_end_in_sight() -> None:
    watched = watching(Path("-"))
    read(watched, piece(Path("-"), 5_000_000))
    assert watched.parts(2.0) == ["5 MB", "12,345 spans", "2,000 events", "2.5 MB/s"]


def test_standard_input_may_be_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "recorded").write_bytes(bytes(8_000_000))
    with (tmp_path / "recorded").open() as file:
        monkeypatch.setattr("sys.stdin", file)
        watched = watching(Path("-"))
    read(watched, piece(Path("-"), 4_000_000))
    assert watched.parts(2.0)[0] == "4 of 8 MB"
    assert watched.parts(2.0)[-1] == "0:02 left"


def test_a_file_that_is_missing_is_told_by_whoever_opens_it() -> None:
    assert watching(Path("/nowhere")).parts(1.0)[0] == "0 MB"


def test_events_rate_and_time_left() -> None:
    counted = Counted("put back", 50_000, io.StringIO(), shown=True)
    counted.add(20_000)
    assert counted.parts(2.0) == ["put back 20,000 of 50,000", "10,000 events/s", "0:03 left"]
    counted.add(30_001)
    assert counted.parts(2.0)[0] == "put back 50,001 of 50,001"


@pytest.mark.parametrize(
    ("columns", "line"),
    [
        (80, "7 of 13 MB, 12,345 spans, 2,000 events, 0.1 MB/s, 1:00 left"),
        (59, "7 of 13 MB, 12,345 spans, 2,000 events, 1:00 left"),
        (40, "7 of 13 MB, 12,345 spans, 1:00 left"),
        (30, "7 of 13 MB, 1:00 left"),
        (10, "1:00 left"),
        (5, "1:00"),
        (0, ""),
    ],
)
def test_a_line_never_wraps(columns: int, line: str) -> None:
    parts = ["7 of 13 MB", "12,345 spans", "2,000 events", "0.1 MB/s", "1:00 left"]
    assert fitted(parts, columns) == line


def test_a_line_that_goes_away_and_none_where_nobody_looks() -> None:
    for shown in (True, False):
        out = io.StringIO()
        with Line(out, shown=shown) as line:
            line._told_s = 0.0
            line.tell(lambda: ["half of it"])
            line.tell(lambda: ["too soon"])
        assert out.getvalue() == ("\rhalf of it\x1b[K\r\x1b[K" if shown else "")
