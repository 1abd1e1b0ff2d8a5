"""Ports that several processes listen on: the kernel gives each connection to one of them (SO_REUSEPORT)."""

import errno
import socket
import time
from contextlib import closing
from dataclasses import replace

from spanmeter.settings import ListenAddress

ORPHANS_S = 2.0
"""How long the processes of a service that was killed may take to see that it is gone."""


def port_to_share(address: ListenAddress) -> ListenAddress:
    """The address, with a free port instead of 0. Raises OSError where any program listens on it: who shares its port
    is let in beside others that do, such as another `serve`, without a word."""
    until_s = time.monotonic() + ORPHANS_S
    while True:
        try:
            return _alone(address)
        except OSError as error:
            if error.errno != errno.EADDRINUSE or time.monotonic() >= until_s:
                raise OSError(f"cannot listen on {address}: {error.strerror}") from error
            time.sleep(0.05)


def _alone(address: ListenAddress) -> ListenAddress:
    """Binds every address that the host's name stands for, as one that does not share, and lets go of it."""
    port = address.port
    for family, kind, protocol, _, place in socket.getaddrinfo(
        address.host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    ):
        try:
            with closing(socket.socket(family, kind, protocol)) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                probe.bind((place[0], port, *place[2:]))
                port = port or probe.getsockname()[1]
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise
            # Such as ::1 for localhost where there is no IPv6: the servers do without, or say what they lack.
    return replace(address, port=port)
