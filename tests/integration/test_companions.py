"""Companions under supervision: what each side tells the other, and what comes after one that ended."""

import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from spanmeter.companions import supervision
from spanmeter.companions.messages import Line
from spanmeter.companions.supervision import Companion
from spanmeter.errors import SpanmeterError
from spanmeter.settings import ListenAddress, Settings, load
from tests.acceptance.child import eventually, free_port
from tests.acceptance.processes import children_of

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")

TIMEOUT_S = 15.0
Begin = Callable[..., Companion]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load(
        {
            "SPANMETER_DATA_DIR": str(tmp_path / "data"),
            "SPANMETER_OTLP_GRPC": "off",
            "SPANMETER_OTLP_HTTP": f"127.0.0.1:{free_port()}",
            "SPANMETER_SHUTDOWN_S": "1",
        }
    )


@pytest.fixture
def begin() -> Iterator[Begin]:
    """Makes companions, and stops them in the end."""
    begun = []

    def begin(settings: Settings, *, told: Callable[[], str] = str) -> Companion:
        companion = Companion(told=told)
        begun.append(companion)
        companion.spawn()
        companion.start(settings)
        return companion

    yield begin
    for companion in begun:
        companion.stop(1.0)
    assert not children_of(os.getpid())


def readiness(settings: Settings) -> tuple[int, str]:
    assert settings.otlp_http is not None
    answer = httpx.get(f"http://{settings.otlp_http}/readyz", trust_env=False)
    return answer.status_code, answer.text


def test_it_says_of_itself_what_keeps_the_service_from_taking_requests(settings: Settings, begin: Begin) -> None:
    trouble = [""]
    begin(settings, told=lambda: trouble[0]).wait_until_ready()
    assert readiness(settings) == (200, "ok\n")
    trouble[0] = "assembly stands still"
    assert eventually(lambda: readiness(settings) == (503, "assembly stands still\n"), timeout_s=TIMEOUT_S)
    trouble[0] = ""
    assert eventually(lambda: readiness(settings) == (200, "ok\n"), timeout_s=TIMEOUT_S)


def test_it_tells_what_keeps_it_from_taking_requests(settings: Settings, begin: Begin) -> None:
    companion = begin(settings.model_copy(update={"min_free_mb": 2**40}))
    companion.wait_until_ready()
    assert "MiB are free on the disk" in companion.problem


def test_an_address_in_use_is_told_as_the_service_would(settings: Settings, begin: Begin) -> None:
    with closing(socket.socket()) as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        address = ListenAddress("127.0.0.1", other.getsockname()[1])
        for name in ("otlp_http", "otlp_grpc"):
            with pytest.raises(SpanmeterError, match=f"cannot listen on {address}: ") as caught:
                begin(settings.model_copy(update={name: address})).wait_until_ready()
            assert "SPANMETER_OTLP_GRPC" in (caught.value.hint or "")


def test_a_folder_that_cannot_be_used_is_told_as_the_service_would(
    tmp_path: Path, settings: Settings, begin: Begin
) -> None:
    (tmp_path / "data").write_text("no folder")
    with pytest.raises(SpanmeterError, match="data folder") as caught:
        begin(settings).wait_until_ready()
    assert "SPANMETER_DATA_DIR" in (caught.value.hint or "")


def test_one_that_ends_while_it_starts_is_no_start(settings: Settings) -> None:
    companion = Companion(told=str)
    companion.spawn()
    [pid] = children_of(os.getpid())
    os.kill(pid, signal.SIGKILL)
    companion.start(settings)
    with pytest.raises(SpanmeterError, match="has ended by SIGKILL"):
        companion.wait_until_ready()
    companion.stop(1.0)


def test_pauses_grow_while_none_can_start(
    settings: Settings, begin: Begin, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Another program takes the port as soon as it is free, and leaves it later."""
    monkeypatch.setattr(supervision, "FIRST_PAUSE_S", 0.2)
    begin(settings).wait_until_ready()
    [pid] = children_of(os.getpid())
    address = settings.otlp_http
    assert address is not None
    with closing(socket.socket()) as other:
        os.kill(pid, signal.SIGKILL)
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        assert eventually(lambda: has_bound(other, address), timeout_s=TIMEOUT_S)
        other.listen()
        assert eventually(lambda: len(caplog.messages) >= 2, timeout_s=TIMEOUT_S)
    assert caplog.messages[:2] == [
        "a receiving process has ended by SIGKILL; another starts in 0.2 s",
        f"cannot listen on {address}: Address already in use; another starts in 0.4 s",
    ]
    assert eventually(lambda: is_ready(settings), timeout_s=TIMEOUT_S)


def has_bound(other: socket.socket, address: ListenAddress) -> bool:
    try:
        other.bind((address.host, address.port))
    except OSError:
        return False
    return True


def is_ready(settings: Settings) -> bool:
    try:
        return readiness(settings) == (200, "ok\n")
    except httpx.TransportError:
        return False


def test_sigterm_to_one_is_its_orderly_end(settings: Settings, begin: Begin, caplog: pytest.LogCaptureFixture) -> None:
    begin(settings).wait_until_ready()
    [pid] = children_of(os.getpid())
    os.kill(pid, signal.SIGTERM)
    assert eventually(lambda: "has ended by exit status 0; another starts in 1 s" in caplog.text, timeout_s=TIMEOUT_S)


def test_all_settings_reach_it(tmp_path: Path) -> None:
    file = tmp_path / "dialects.toml"
    file.write_text('[[dialect]]\nname = "ours"\nspan = "llm *"\n[dialect.counts]\ninput = "ours.tokens"\n')
    given = {"SPANMETER_DIALECT_FILE": str(file), "KONNECT_TOKEN": "spat_x", "SPANMETER_DIMENSIONS": "tier=tenant.tier"}
    settings = load(given)
    ours, theirs = Line.pair()
    with ours.connection, theirs.connection:
        ours.say(settings)
        assert theirs.hear() == settings
