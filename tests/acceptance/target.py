"""A running collector as the tests of bad input meet it: what they send, how it answers, how much memory it takes."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest

from spanmeter.testing.metering_service import MeteringService
from tests.acceptance.child import eventually
from tests.acceptance.collector import ARRIVAL_TIMEOUT_S, Collector
from tests.acceptance.requests import PROTOBUF

TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """The collector under test and the service behind it."""

    collector: Collector
    service: MeteringService

    def post(self, body: bytes, content_type: str = PROTOBUF, **headers: str) -> httpx.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return httpx.post(
            f"{self.collector.http_url}/v1/traces",
            content=body,
            headers={"content-type": content_type, **named},
            timeout=TIMEOUT_S,
            trust_env=False,
        )

    def export(self, body: bytes, *, compression: grpc.Compression = grpc.Compression.NoCompression) -> bytes:
        """By gRPC, the message as these bytes. Raises grpc.RpcError."""
        options = (("grpc.max_send_message_length", -1),)
        with grpc.insecure_channel(f"127.0.0.1:{self.collector.grpc_port}", options, compression) as channel:
            call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(
                "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
            )
            return call(body, timeout=TIMEOUT_S)

    def refusal(
        self, body: bytes, *, compression: grpc.Compression = grpc.Compression.NoCompression
    ) -> tuple[grpc.StatusCode, str]:
        """Code and words for a gRPC request that must not be taken."""
        with pytest.raises(grpc.RpcError) as caught:
            self.export(body, compression=compression)
        call: Any = caught.value  # also a grpc.Call, which the types do not know
        return call.code(), call.details()

    def is_billed(self, response_id: str) -> bool:
        """Whether both events of the call arrive."""
        wanted = {f"{response_id}-input", f"{response_id}-output"}
        return eventually(lambda: wanted <= {event["id"] for event in self.service.events}, timeout_s=ARRIVAL_TIMEOUT_S)

    @contextmanager
    def growing_by_less_than(self, limit_bytes: int) -> Iterator[None]:
        """AssertionError if the collector's memory grew by more at any moment of the block. Only Linux can tell."""
        process = Path(f"/proc/{self.collector.child.process.pid}")
        if not process.exists():
            yield
            return
        (process / "clear_refs").write_text("5")  # forgets the peak
        before = _memory_bytes(process, "VmRSS")
        yield
        assert _memory_bytes(process, "VmHWM") - before < limit_bytes


def _memory_bytes(process: Path, field: str) -> int:
    lines = (process / "status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(f"{field}:")).split()[1]) * 1024
