"""What is sent: export requests serialised once, with ids that cost little to make new."""

import random
import string
from dataclasses import dataclass
from hashlib import sha256

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import ScopeSpans
from opentelemetry.proto.trace.v1.trace_pb2 import Span as SpanMessage

from spanmeter.usage.span import AttributeValue
from tests.unit.wire.bodies import set_attributes

TAG = b"%bench"
TENANT_TAG = b"%group"
_DIGITS = (string.digits + string.ascii_lowercase).encode()
TICK_TAG = b"%now"
"""In place of the upper half of each start and end. The lower half counts 4.3 seconds."""
REQUESTS_A_TICK = 64
"""So time goes on with the requests, as it does where spans are sent when they end: at 10,000 spans a second in
requests of 512, nearly as fast as it is."""
_TICK_BITS = 32
_FIRST_TICK = 1_767_225_600_000_000_000 >> _TICK_BITS
_UNTIMED_NS = int.from_bytes(TICK_TAG, "little") << _TICK_BITS
_TENANTS_OF_A_REQUEST = 500
"""At most. Where there are more, requests take turns."""
_SPANS_OF_A_TRACE = 20
"""In the mix: one LLM span and nineteen others."""
_MODELS = (
    ("openai", "gpt-4o-mini", "gpt-4o-mini-2024-07-18"),
    ("openai", "gpt-4.1", "gpt-4.1-2025-04-14"),
    ("azure.ai.openai", "gpt-4o", "gpt-4o-2024-08-06"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """Requests of `spans` spans for so many `tenants`, all of them LLM spans with `text_bytes` of messages, or a mix in
    which every twentieth is."""

    name: str
    spans: int
    text_bytes: int = 0
    is_mix: bool = False
    tenants: int = 50


class Template:
    """A request's bytes, cut at everything that makes it differ from the one before: a tag in every trace id, span id,
    parent span id and response id. To join them again costs a twentieth of writing to each place. The names of tenants
    have a tag of their own, of which there are so many `groups`, and so have the times."""

    def __init__(self, body: bytes, *, groups: int = 1) -> None:
        self.groups = groups
        self.body = body
        self._cut = (0, 0), self._pieces(0, 0)

    def timed(self, tick: int) -> bytes:
        """The body at that time, with its other tags."""
        return self.body.replace(TICK_TAG, (_FIRST_TICK + tick).to_bytes(4, "little"))

    def request(self, number: int) -> bytes:
        """The body with a tag of its own for each `number`: no span of it was ever sent before."""
        asked = number // REQUESTS_A_TICK, number % self.groups
        cut, pieces = self._cut
        if cut != asked:
            pieces = self._pieces(*asked)
            self._cut = asked, pieces
        return tag_of(number).join(pieces)

    def _pieces(self, tick: int, group: int) -> list[bytes]:
        return self.timed(tick).replace(TENANT_TAG, tag_of(group)).split(TAG)


def template_of(load: Load, *, seed: int) -> Template:
    dice = random.Random(seed)
    message = ExportTraceServiceRequest()
    resource_spans = message.resource_spans.add()
    set_attributes(
        resource_spans.resource.attributes,
        {
            "service.name": "chat-api",
            "service.instance.id": "chat-api-7d9f8b6c5-x2x9k",
            "service.version": "1.4.2",
            "deployment.environment.name": "production",
            "telemetry.sdk.language": "python",
            "telemetry.sdk.name": "opentelemetry",
            "telemetry.sdk.version": "1.39.0",
        },
    )
    llm = resource_spans.scope_spans.add()
    llm.scope.name, llm.scope.version = "opentelemetry.instrumentation.openai_v2", "2.4b0"
    if load.is_mix:
        other = resource_spans.scope_spans.add()
        other.scope.name, other.scope.version = "opentelemetry.instrumentation.asgi", "0.60b0"
        for number in range(load.spans):
            trace, place = divmod(number, _SPANS_OF_A_TRACE)
            scope = llm if place == 1 else other
            _add(
                scope, dice, trace=trace, number=number, parent=trace * _SPANS_OF_A_TRACE if place else None, load=load
            )
    else:
        for number in range(load.spans):
            _add(llm, dice, trace=number, number=number, parent=None, load=load)
    return Template(message.SerializeToString(), groups=max(1, load.tenants // _TENANTS_OF_A_REQUEST))


def _add(
    scope: ScopeSpans, dice: random.Random, *, trace: int, number: int, parent: int | None, load: Load
) -> SpanMessage:
    start_ns = _UNTIMED_NS + number * 50_000
    is_llm = scope.scope.name.endswith("openai_v2")
    provider, requested, answered = dice.choice(_MODELS)
    span = scope.spans.add(
        trace_id=TAG + sha256(trace.to_bytes(8, "big")).digest()[:10],
        span_id=TAG + number.to_bytes(2, "big"),
        parent_span_id=b"" if parent is None else TAG + parent.to_bytes(2, "big"),
        flags=0x101,
        name=f"chat {requested}" if is_llm else dice.choice(("GET /v1/orders/{id}", "SELECT orders", "HGETALL")),
        kind=SpanMessage.SPAN_KIND_CLIENT,
        start_time_unix_nano=start_ns,
        end_time_unix_nano=start_ns + dice.randrange(10**8, 38 * 10**8),
    )
    set_attributes(span.attributes, _llm(dice, provider, requested, answered, load) if is_llm else _other(dice))
    return span


def _llm(dice: random.Random, provider: str, requested: str, answered: str, load: Load) -> dict[str, AttributeValue]:
    """What opentelemetry-instrumentation-openai-v2 writes, and a tenant."""
    suffix = "".join(dice.choices(string.ascii_letters + string.digits, k=23))
    return {
        "gen_ai.operation.name": "chat",
        "gen_ai.system": provider,
        "gen_ai.request.model": requested,
        "server.address": "api.openai.com",
        "gen_ai.request.temperature": 0.2,
        **_messages(dice, load.text_bytes),
        "gen_ai.response.model": answered,
        "gen_ai.response.finish_reasons": ["stop"],
        "gen_ai.response.id": f"chatcmpl-{TAG.decode()}{suffix}",
        "gen_ai.usage.input_tokens": dice.randrange(20, 12_000),
        "gen_ai.usage.output_tokens": dice.randrange(1, 3_000),
        "tenant.id": f"{TENANT_TAG.decode()}-{dice.randrange(min(load.tenants, _TENANTS_OF_A_REQUEST)):03}",
    }


def _messages(dice: random.Random, text_bytes: int) -> dict[str, AttributeValue]:
    if not text_bytes:
        return {}
    words = ("token", "invoice", "\\n", "customer", "the", "of", "a", "Straße", '\\"quoted\\"', "42")
    text = " ".join(dice.choices(words, k=text_bytes // 6 + 50)).encode()[: text_bytes // 2].decode(errors="ignore")
    return {
        "gen_ai.input.messages": f'[{{"role":"user","parts":[{{"type":"text","content":"{text}"}}]}}]',
        "gen_ai.output.messages": f'[{{"role":"assistant","parts":[{{"type":"text","content":"{text}"}}]}}]',
    }


def _other(dice: random.Random) -> dict[str, AttributeValue]:
    if dice.random() < 0.5:
        return {
            "db.system.name": "postgresql",
            "db.namespace": "shop",
            "db.operation.name": "SELECT",
            "db.query.text": "SELECT id, state, total FROM orders WHERE customer = $1 ORDER BY made DESC LIMIT 20",
            "server.address": "db-0.internal",
            "server.port": 5432,
        }
    return {
        "http.request.method": "GET",
        "http.route": "/v1/orders/{id}",
        "http.response.status_code": 200,
        "url.scheme": "https",
        "url.path": f"/v1/orders/{dice.randrange(10**9)}",
        "server.address": "shop.example.com",
        "client.address": "10.0.0.17",
        "network.protocol.version": "1.1",
        "user_agent.original": "python-httpx/0.28.1",
    }


def tag_of(number: int) -> bytes:
    digits = bytearray(6)
    for place in range(5, -1, -1):
        number, digit = divmod(number, 36)
        digits[place] = _DIGITS[digit]
    return bytes(digits)
