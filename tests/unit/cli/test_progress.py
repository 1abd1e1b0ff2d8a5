import io
from pathlib import Path

from spanmeter.cli.progress import Watched
from spanmeter.wire.files import Piece


def piece(path: Path, position: int) -> Piece:
    return Piece(path=str(path), place="", body=b"", is_json=False, position=position)


def test_bytes_of_all_files_and_the_time_left(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_bytes(bytes(3_000_000))
    two.write_bytes(bytes(7_000_000))
    watched = Watched([str(one), str(two), str(one)], io.StringIO(), shown=True)
    for _ in watched.through([piece(one, 3_000_000), piece(two, 4_000_000)]):
        pass
    watched.decided(spans=12_345, events=2_000)
    assert watched.line(70.0) == "7 of 13 MB, 12,345 spans, 2,000 events, 0.1 MB/s, 1:00 left"
    for _ in watched.through([piece(two, 7_000_000), piece(one, 1_000_000)]):
        pass
    assert watched.line(1.0).startswith("11 of 13 MB")


def test_a_pipe_has_no_end_in_sight(tmp_path: Path) -> None:
    watched = Watched(["-"], io.StringIO(), shown=True)
    for _ in watched.through([piece(Path("-"), 5_000_000)]):
        pass
    assert watched.line(2.0) == "5 MB, 0 spans, 0 events, 2.5 MB/s"


def test_a_line_that_goes_away_and_none_where_nobody_looks() -> None:
    for shown in (True, False):
        out = io.StringIO()
        with Watched(["-"], out, shown=shown):
            pass
        assert out.getvalue() == ("\r\x1b[K" if shown else "")
