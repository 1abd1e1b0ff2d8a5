"""The corpus as objects."""

import collections
import json
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spanmeter.pipeline.accounting import Rules
from spanmeter.pipeline.conversion import Conversion
from spanmeter.store.ledger import Settlement
from spanmeter.usage.call import TokenClass
from spanmeter.usage.event import EventRules
from spanmeter.usage.recognition import Recogniser
from spanmeter.wire.body import decode
from spanmeter.wire.request import DecodedRequest

FOLDER = Path(__file__).parent / "cases"
NOW_NS = 1_800_000_000_000_000_000
TRACE_PATHS = ("/v1/traces", "/api/public/otel/v1/traces")

Bill = collections.Counter[tuple[str, str]]
"""Tokens by tenant and token class."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One capture. `bodies` are (body, content type) of the trace requests in arrival order."""

    name: str
    tenant_attributes: tuple[str, ...]
    calls: list[dict[str, Any]]
    bodies: list[tuple[bytes, str]]

    def recogniser(self) -> Recogniser:
        return Recogniser(tenant_attributes=self.tenant_attributes)

    def requests(self) -> list[DecodedRequest]:
        vocabulary = self.recogniser().vocabulary()
        return [decode(body, content_type, vocabulary) for body, content_type in self.bodies]

    def expected(self) -> Bill:
        """Input and output tokens by tenant of the calls that can be billed from spans."""
        want: Bill = collections.Counter()
        for call in self.calls:
            if call["usage_visible"] and call["tenant_reachable"]:
                want[call["tenant"], "input"] += call["input_tokens"]
                want[call["tenant"], "output"] += call["output_tokens"]
        return +want


def read_case(path: Path) -> Case:
    with zipfile.ZipFile(path) as archive:
        case = json.loads(archive.read("case.json"))
        bodies = [
            (archive.read(request["file"]), request["content_type"])
            for request in case["requests"]
            if request["path"] in TRACE_PATHS
        ]
    return Case(name=case["id"], tenant_attributes=tuple(case["tenant_attributes"]), calls=case["calls"], bodies=bodies)


def all_cases() -> Iterator[Case]:
    for path in sorted(FOLDER.glob("*.zip")):
        yield read_case(path)


def settle(case: Case, *, classes: tuple[TokenClass, ...] = (TokenClass.INPUT, TokenClass.OUTPUT)) -> Settlement:
    """All of a case decided together, as `spanmeter convert` does."""
    conversion = Conversion(case.recogniser(), Rules(events=EventRules(classes=classes)), NOW_NS)
    conversion.add(case.requests())
    return conversion.settle()


def bill(settlement: Settlement) -> Bill:
    billed: Bill = collections.Counter()
    for event in settlement.all_events():
        billed[event.subject, event.token_class.value] += event.tokens
    return +billed
