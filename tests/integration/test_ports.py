"""Ports that processes share."""

import socket
import threading
import time
from contextlib import closing

import pytest

from spanmeter.receiver import ports
from spanmeter.receiver.ports import port_to_share
from spanmeter.settings import ListenAddress


def listening(address: ListenAddress, *, shared: bool) -> socket.socket:
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if shared:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    made.bind((address.host, address.port))
    made.listen()
    return made


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0.0.0.0"])
def test_a_free_port_takes_the_place_of_0(host: str) -> None:
    address = port_to_share(ListenAddress(host, 0))
    assert address.host == host and address.port > 0
    assert port_to_share(address) == address
    with closing(listening(address, shared=True)), closing(listening(address, shared=True)):
        pass


@pytest.mark.parametrize("shared", [False, True])
def test_a_port_that_another_listens_on_is_refused(shared: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "ORPHANS_S", 0.0)
    with closing(listening(ListenAddress("127.0.0.1", 0), shared=shared)) as other:
        address = ListenAddress("127.0.0.1", other.getsockname()[1])
        with pytest.raises(OSError, match=f"cannot listen on {address}: Address already in use"):
            port_to_share(address)


def test_a_process_that_is_about_to_end_is_waited_for() -> None:
    other = listening(ListenAddress("127.0.0.1", 0), shared=True)
    address = ListenAddress("127.0.0.1", other.getsockname()[1])
    begun_s = time.monotonic()
    ending = threading.Timer(0.1, other.close)
    ending.start()
    assert port_to_share(address) == address
    assert time.monotonic() - begun_s >= 0.1
    ending.join()


def test_a_name_that_is_none_is_said() -> None:
    with pytest.raises(OSError, match=r"cannot listen on no-such-host\.invalid:4317: "):
        port_to_share(ListenAddress("no-such-host.invalid", 4317))
