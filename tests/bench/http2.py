"""gRPC's unary calls over one HTTP/2 connection, as cheaply as they can be made: for a sender that shares its cores
with the server. It makes one call at a time, and does not read headers (RFC 9113, and gRPC's PROTOCOL-HTTP2.md)."""

import socket
import struct

_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _PING, _GOAWAY, _WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
_END_STREAM, _ACK, _END_HEADERS = 1, 1, 4
_INITIAL_WINDOW_SIZE, _MAX_FRAME_SIZE = 4, 5
_HEAD = struct.Struct(">HBBBI")  # length in two parts, kind, flags, stream
_SETTING = struct.Struct(">HI")
_OF_CONNECTION = 0


def _frame(kind: int, flags: int, stream: int, contents: bytes = b"") -> bytes:
    size = len(contents)
    return _HEAD.pack(size >> 8, size & 0xFF, kind, flags, stream) + contents


def _literal(text: str) -> bytes:
    return bytes([len(text)]) + text.encode()


class Http2Connection:
    """Not for several threads."""

    def __init__(self, port: int, method: str, *, timeout_s: float, encoding: str = "") -> None:
        """`encoding` is that of the messages, such as gzip."""
        # HPACK (RFC 7541): indexed names, literal values, nothing remembered.
        self._headers = b"\x83\x86\x04" + _literal(method) + b"\x01" + _literal("bench")
        self._headers += b"\x0f\x10" + _literal("application/grpc") + b"\x00" + _literal("te") + _literal("trailers")
        if encoding:
            self._headers += b"\x00" + _literal("grpc-encoding") + _literal(encoding)
        self._is_packed = bool(encoding)
        self._stream = -1
        self._window = self._stream_window = self._initial_window = 65_535
        self._frame_bytes = 16_384
        self._received = b""
        self._is_open = self._has_message = False
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=timeout_s)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        window = struct.pack(">I", 2**31 - 1 - self._window)  # for all answers that will ever come
        self._socket.sendall(
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
            + _frame(_SETTINGS, 0, _OF_CONNECTION)
            + _frame(_WINDOW_UPDATE, 0, _OF_CONNECTION, window)
        )
        self._read()

    def close(self) -> None:
        self._socket.close()

    def call(self, body: bytes) -> None:
        """Returns when it was answered with a message. OSError where there was none: errors have only trailers."""
        self._stream += 2
        self._stream_window = self._initial_window
        self._is_open, self._has_message = True, False
        pending = [_frame(_HEADERS, _END_HEADERS, self._stream, self._headers)]
        message = memoryview(struct.pack(">BI", self._is_packed, len(body)) + body)
        at, size = 0, len(message)
        while at < size:
            room = min(self._frame_bytes, self._window, self._stream_window)
            if room <= 0:
                self._send(pending)
                self._read()
                if not self._is_open:
                    break
                continue
            part = message[at : at + room]
            at += len(part)
            self._window -= len(part)
            self._stream_window -= len(part)
            pending.append(_frame(_DATA, _END_STREAM if at == size else 0, self._stream, part.tobytes()))
        self._send(pending)
        while self._is_open:
            self._read()
        if not self._has_message:
            raise OSError("the call was refused")

    def _send(self, pending: list[bytes]) -> None:
        if pending:
            self._socket.sendall(b"".join(pending))
            pending.clear()

    def _read(self) -> None:
        """What has come, at least one piece."""
        piece = self._socket.recv(65_536)
        if not piece:
            raise ConnectionError("closed by the server")
        received = self._received + piece
        at = 0
        while len(received) - at >= _HEAD.size:
            high, low, kind, flags, stream = _HEAD.unpack_from(received, at)
            end = at + _HEAD.size + (high << 8 | low)
            if len(received) < end:
                break
            self._take(kind, flags, stream, received[at + _HEAD.size : end])
            at = end
        self._received = received[at:]

    def _take(self, kind: int, flags: int, stream: int, contents: bytes) -> None:
        if kind in (_DATA, _HEADERS) and stream == self._stream:
            self._has_message |= kind == _DATA and bool(contents)
            self._is_open &= not flags & _END_STREAM
        elif kind == _RST_STREAM and stream == self._stream:
            self._is_open = False
        elif kind == _SETTINGS and not flags & _ACK:
            for name, value in _SETTING.iter_unpack(contents):
                if name == _MAX_FRAME_SIZE:
                    self._frame_bytes = value
                elif name == _INITIAL_WINDOW_SIZE:
                    self._stream_window += value - self._initial_window
                    self._initial_window = value
            self._socket.sendall(_frame(_SETTINGS, _ACK, _OF_CONNECTION))
        elif kind == _PING and not flags & _ACK:
            self._socket.sendall(_frame(_PING, _ACK, _OF_CONNECTION, contents))
        elif kind == _GOAWAY:
            raise ConnectionError("the server goes away")
        elif kind == _WINDOW_UPDATE and stream == _OF_CONNECTION:
            self._window += int.from_bytes(contents, "big")
        elif kind == _WINDOW_UPDATE and stream == self._stream:
            self._stream_window += int.from_bytes(contents, "big")
