"""Which system call sent a request's acknowledgement: from the bytes of its connection."""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence

from tests.crash.strace import RECEIVES, SENDS, SystemCall

_BEGINNINGS = (b"PRI * HTTP/2.0", b"POST ")
_RESPONSE_ID = re.compile(rb"chatcmpl-[0-9a-f]{28}")
_HEADERS = 1
"""RFC 9113, 6.2. A server's first HEADERS frame on a connection begins its first answer."""


def acknowledgements(
    calls: Sequence[SystemCall], ids: Collection[str], *, grpc_port: int, http_port: int
) -> Mapping[str, SystemCall]:
    """By response id the call that sent the first byte of the answer, where each request had a connection of its own
    and was acknowledged."""
    wanted = {response_id.encode(): response_id for response_id in ids}
    found = {}
    for port, begins in ((grpc_port, _grpc_answer), (http_port, _http_answer)):
        for received, sent in _connections(calls, port):
            for needle in _RESPONSE_ID.findall(received):
                if needle in wanted:
                    stream = b"".join(call.data for call in sent)
                    found[wanted[needle]] = _call_at(sent, begins(stream))
    return found


def _connections(calls: Sequence[SystemCall], port: int) -> Iterator[tuple[bytes, list[SystemCall]]]:
    """What was received on each connection to this port, and the calls that sent."""
    open_ones: dict[str, tuple[bytearray, list[SystemCall]]] = {}
    for call in calls:
        if not call.file.startswith("TCP") or f":{port}->" not in call.file:
            continue
        if call.name in RECEIVES:
            if call.data.startswith(_BEGINNINGS) and call.file in open_ones:  # the client's port is used again
                received, sent = open_ones.pop(call.file)
                yield bytes(received), sent
            open_ones.setdefault(call.file, (bytearray(), []))[0].extend(call.data)
        elif call.name in SENDS:
            open_ones.setdefault(call.file, (bytearray(), []))[1].append(call)
    for received, sent in open_ones.values():
        yield bytes(received), sent


def _http_answer(stream: bytes) -> int:
    return stream.index(b"HTTP/1.1 200 ")


def _grpc_answer(stream: bytes) -> int:
    """Where the first HEADERS frame begins."""
    at = 0
    while stream[at + 3] != _HEADERS:
        at += 9 + int.from_bytes(stream[at : at + 3], "big")
    return at


def _call_at(calls: Sequence[SystemCall], offset: int) -> SystemCall:
    end = 0
    for call in calls:
        end += len(call.data)
        if offset < end:
            return call
    raise AssertionError(f"only {end} bytes were sent, none at {offset}")
