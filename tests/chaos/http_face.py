"""Requests as no client should send them, made by hypothesis, and how the HTTP face takes them."""

import gzip
import re
import socket
import zlib
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from tests.acceptance.requests import call_request, new_response_id

PATIENCE_S = 10.0
"""A request that has ended is answered, or its connection closed, within this time; else it hangs."""

VALID_PROTOBUF = call_request(new_response_id()).SerializeToString()
VALID_JSON = (
    b'{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"5b8efff798038103d269b633813fc60c","spanId":'
    b'"eee19b7ec3c1b174","startTimeUnixNano":"1","endTimeUnixNano":"2","name":"chat","attributes":[{"key":'
    b'"gen_ai.operation.name","value":{"stringValue":"chat"}},{"key":"gen_ai.usage.input_tokens","value":'
    b'{"intValue":"11"}}]}]}]}]}'
)
_STATUS = re.compile(rb"HTTP/1\.[01] (\d{3}) ")
_KEYS = ["resourceSpans", "scopeSpans", "spans", "attributes", "key", "value", "intValue", "traceId", "kvlistValue"]
_PATHS = ["/v1/traces", "/v1/traces", "/v1/traces", "/api/public/otel/v1/traces", "/v1/traces/", "/", "/healthz", "*"]
_METHODS = ["POST", "POST", "POST", "POST", "GET", "HEAD", "PUT", "OPTIONS", "CONNECT", "TRACE", "post"]
_TYPES = ["application/x-protobuf", "application/json", "application/json; charset=latin-1", "text/plain", ";", ""]
_ENCODINGS = ["gzip", "deflate", "identity", "br", "zstd", "gzip, gzip", "GZIP", "x-gzip"]
_LENGTHS = ["", "-1", "0", "1", "abc", "99999999999999999999", "5, 5", "+3"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """`status` is None where the connection was closed without an answer that is HTTP."""

    status: int | None
    data: bytes


@st.composite
def _broken(draw: st.DrawFn, valid: bytes) -> bytes:
    """A valid body with bytes changed, cut off, doubled or put in."""
    body = bytearray(valid)
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, max(0, len(body) - 1)))
        match draw(st.integers(0, 3)):
            case 0:
                body[at : at + 1] = draw(st.binary(min_size=1, max_size=1))
            case 1:
                del body[at:]
            case 2:
                body[at:at] = body[at : at + 40]
            case _:
                body[at:at] = draw(st.binary(max_size=30))
    return bytes(body)


def _json_values() -> st.SearchStrategy[Any]:
    leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
    return st.recursive(
        leaves,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(_KEYS), inner, max_size=4),
        max_leaves=15,
    )


def bodies() -> st.SearchStrategy[bytes]:
    """Valid ones, broken ones, deep ones and noise."""
    return st.one_of(
        st.binary(max_size=300),
        _broken(VALID_PROTOBUF),
        _broken(VALID_JSON),
        _json_values().map(lambda value: repr(value).replace("'", '"').encode("utf-8", "replace")),
        st.integers(1, 5000).map(lambda depth: b"[" * depth),
        st.integers(1, 2000).map(lambda depth: b'{"resourceSpans":[' * depth),
        st.integers(1, 60).map(_nested_protobuf),
    )


def _nested_protobuf(depth: int) -> bytes:
    """Length-delimited fields inside one another."""
    body = b""
    for _ in range(depth):
        if len(body) > 100:
            break
        body = bytes([0x0A, len(body)]) + body
    return body


@st.composite
def _encoded_bodies(draw: st.DrawFn) -> tuple[bytes, str]:
    """A body and its content encoding, which may not be true."""
    body = draw(bodies())
    match draw(st.integers(0, 7)):
        case 0:
            return gzip.compress(body), "gzip"
        case 1:
            return zlib.compress(body), "deflate"
        case 2:
            return gzip.compress(body)[: draw(st.integers(0, 60))], "gzip"
        case 3:
            return body, draw(st.sampled_from(_ENCODINGS))
        case _:
            return body, ""


@st.composite
def tidy_requests(draw: st.DrawFn) -> bytes:
    """Whole and true by HTTP's rules, so that the body is what matters."""
    body, encoding = draw(_encoded_bodies())
    media_type = draw(st.sampled_from(_TYPES[:2]))
    head = f"POST /v1/traces HTTP/1.1\r\nhost: x\r\ncontent-type: {media_type}\r\ncontent-length: {len(body)}\r\n"
    return (head + (f"content-encoding: {encoding}\r\n" if encoding else "") + "\r\n").encode() + body


@st.composite
def wild_requests(draw: st.DrawFn) -> bytes:
    """Whole, but the headers may lie about the body, and are not all HTTP."""
    body, encoding = draw(_encoded_bodies())
    headers = [("host", "x"), ("content-encoding", encoding), ("content-type", draw(st.sampled_from(_TYPES)))]
    match draw(st.integers(0, 3)):
        case 0:
            headers.append(("content-length", draw(st.sampled_from(_LENGTHS))))
        case 1:
            headers.append(("transfer-encoding", draw(st.sampled_from(["chunked", "chunked, chunked", "what"]))))
            size = max(0, draw(st.integers(-1, 10)) + len(body))
            body = f"{size:x}\r\n".encode() + body + b"\r\n0\r\n\r\n"
        case _:
            headers.append(("content-length", str(len(body))))
    noise = st.text(st.characters(codec="latin-1", exclude_characters="\r\n"), max_size=20)
    names = st.sampled_from(["x", "expect", "connection", "upgrade", ""])
    headers += draw(st.lists(st.tuples(names, noise), max_size=2))
    path = draw(st.sampled_from(_PATHS) | st.text(st.characters(codec="ascii"), max_size=12).map("/{}".format))
    head = f"{draw(st.sampled_from(_METHODS))} {path} HTTP/1.1\r\n" + "".join(f"{k}: {v}\r\n" for k, v in headers)
    return head.encode("latin-1", "replace") + b"\r\n" + body


def other_requests() -> st.SearchStrategy[bytes]:
    """What else a connection may begin with: wild requests, broken ones and noise."""
    wild = wild_requests()
    return st.one_of(wild, wild.flatmap(_broken), st.binary(max_size=400))


def ask(port: int, request: bytes, *, wait_s: float = PATIENCE_S) -> Answer:
    """Send these bytes to 127.0.0.1 and wait so long for an answer's beginning; then end the stream, after which the
    connection must end too: TimeoutError if it does not."""
    with closing(socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S)) as connection:
        data = bytearray()
        try:
            connection.sendall(request)
            connection.settimeout(wait_s)
            try:
                data += connection.recv(65536)
            except TimeoutError:
                connection.shutdown(socket.SHUT_WR)
                connection.settimeout(PATIENCE_S)
                while part := connection.recv(65536):
                    data += part
        except (ConnectionResetError, BrokenPipeError):
            pass  # it may close on what it does not understand
    found = _STATUS.match(data)
    return Answer(status=int(found[1]) if found else None, data=bytes(data))


def complaint_about(answer: Answer) -> str:
    """What is wrong with it; empty if nothing is. 503 says that the disk or a queue is full: here they are not."""
    if answer.status is None or answer.status in (200, 400, 404, 405, 413, 415, 100, 426, 431):
        return ""
    return f"{answer.status} {answer.data[:300]!r}"
