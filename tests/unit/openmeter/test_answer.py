import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spanmeter.openmeter.answer import detail_of, fold, judge, retry_after_s
from spanmeter.openmeter.reply import Halted, Refused, Reply, Retry, Taken

# 2026-01-01T00:00:00Z
NOW_NS = 1_767_225_600_000_000_000


def problem(**fields: object) -> bytes:
    return json.dumps(fields).encode()


def reply(status: int, body: bytes = b"", **headers: str) -> Reply:
    return judge(status, {name.replace("_", "-"): value for name, value in headers.items()}, body=body, now_ns=NOW_NS)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (200, Taken),
        (202, Taken),
        (204, Taken),
        (299, Taken),
        (301, Halted),
        (302, Halted),
        (304, Halted),
        (307, Halted),
        (308, Halted),
        (400, Refused),
        (401, Halted),
        (402, Halted),
        (403, Halted),
        (404, Halted),
        (405, Halted),
        (406, Refused),
        (407, Halted),
        (408, Retry),
        (409, Refused),
        (413, Refused),
        (415, Halted),
        (418, Refused),
        (421, Halted),
        (422, Refused),
        (425, Retry),
        (429, Retry),
        (431, Refused),
        (451, Halted),
        (499, Refused),
        (500, Retry),
        (501, Retry),
        (502, Retry),
        (503, Retry),
        (504, Retry),
        (507, Retry),
        (599, Retry),
        (600, Retry),
        (999, Retry),
        (199, Retry),
    ],
)
def test_what_a_status_means(status: int, kind: type[Reply]) -> None:
    assert isinstance(reply(status), kind)


@pytest.mark.parametrize(
    ("status", "hint"),
    [(401, "expired"), (403, "lacks Ingest"), (404, "KONNECT_REGION"), (302, "SPANMETER_ENDPOINT"), (402, "account")],
)
def test_a_halt_says_what_to_mend(status: int, hint: str) -> None:
    answer = reply(status, problem(detail="Sorry"), location="https://login.example/")
    assert isinstance(answer, Halted)
    assert hint in answer.hint


@pytest.mark.parametrize("page", [b"<!DOCTYPE html><html></html>", b"\n  <HTML><body>Console</body></HTML>"])
def test_a_web_page_takes_no_events(page: bytes) -> None:
    assert isinstance(reply(200, page), Halted)


def test_other_words_after_a_2xx_do_not_matter() -> None:
    assert reply(200, b'{"status":"ok"}') == Taken()
    assert reply(200, b"ok") == Taken()


@pytest.mark.parametrize(
    ("fields", "bad"),
    [
        (["1.subject"], (1,)),
        (["3.data.cost", "0.id", "3.time"], (0, 3)),
        (["[2].subject", "/4/type", "7"], (2, 4, 7)),
        (["subject", "data.1", "", "1x", "-1.id"], ()),
        ([], ()),
    ],
)
def test_named_events(fields: list[str], bad: tuple[int, ...]) -> None:
    body = problem(detail="no", invalid_parameters=[{"field": field, "reason": "no"} for field in fields])
    answer = reply(400, body)
    assert isinstance(answer, Refused)
    assert answer.bad == bad


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff\xfe",
        b"null",
        b"[]",
        b"[" * 60_000,
        b'{"invalid_parameters":7}',
        b'{"invalid_parameters":[7,null,{"field":null},{"field":{}}],"detail":{}}',
        b'{"extensions":[],"detail":null}',
    ],
)
def test_a_strange_body_names_nobody(body: bytes) -> None:
    answer = reply(400, body)
    assert isinstance(answer, Refused)
    assert answer.bad == ()
    assert answer.detail


@given(st.binary(max_size=300), st.integers(100, 999))
def test_every_answer_means_something(body: bytes, status: int) -> None:
    assert isinstance(reply(status, body), Taken | Retry | Refused | Halted)


def test_the_words_of_v3_and_of_v1() -> None:
    v3 = problem(detail="Bad Request", invalid_parameters=[{"field": "0.id", "reason": "too short"}])
    assert detail_of(v3) == "Bad Request; 0.id: too short"
    v1 = problem(title="Bad Request", extensions={"validationErrors": [{"code": "x", "message": "no meter"}]})
    assert detail_of(v1) == "Bad Request; x: no meter"
    assert detail_of(b"<h1>502</h1>\r\n upstream") == "<h1>502</h1> upstream"


@given(st.text(max_size=2000))
def test_words_are_one_short_printable_line(text: str) -> None:
    line = fold(text)
    assert len(line) <= 500
    assert line.isprintable()


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("0", 0.0),
        ("7", 7.0),
        (" 7 ", 7.0),
        ("3601", 3600.0),
        ("9" * 5000, 3600.0),
        ("Thu, 01 Jan 2026 00:00:30 GMT", 30.0),
        ("Thu, 01 Jan 2026 00:00:30 -0000", 30.0),
        ("Thu, 01 Jan 2026 01:00:30 +0100", 30.0),
        ("Wed, 31 Dec 2025 00:00:00 GMT", 0.0),
        ("Fri, 02 Jan 2026 00:00:00 GMT", 3600.0),
        ("-5", None),
        ("1.5", None),
        ("inf", None),
        ("soon", None),
        ("", None),
        ("٣", None),
    ],
)
def test_retry_after(value: str | None, seconds: float | None) -> None:
    assert retry_after_s(value, now_ns=NOW_NS) == seconds


def test_a_retry_carries_the_wait_and_the_words() -> None:
    answer = reply(429, problem(title="Rate Limited"), retry_after="12")
    assert answer == Retry(reason="HTTP 429: Rate Limited", after_s=12.0)
