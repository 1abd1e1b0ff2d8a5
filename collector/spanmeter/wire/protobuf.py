"""OTLP's protobuf encoding: request bodies to spans.

Nearly all spans that pass are of no interest, so the work on them is kept to one search through their bytes for a key
of interest and a copy of their ids.
"""

from google.protobuf.message import DecodeError

from spanmeter.usage.span import Vocabulary
from spanmeter.wire import messages
from spanmeter.wire.encoded import EncodedSpans, Resource, sift
from spanmeter.wire.fault import malformed
from spanmeter.wire.interest import Interest, interest_of
from spanmeter.wire.links import pack_links
from spanmeter.wire.request import DecodedRequest, Rejections

_SAMPLE = 8
"""If so many spans of a scope hold a key of interest, all are taken for such spans until they are looked at."""


def decode_protobuf(body: bytes, vocabulary: Vocabulary) -> DecodedRequest:
    """Decodes an ExportTraceServiceRequest, or TracesData, which has the same bytes.

    Text that is not UTF-8 is kept with U+FFFD in place of what cannot be read. Spans without a key of interest are
    passed over unparsed: a fault inside them goes unnoticed. The others are left encoded, see `DecodedRequest`.

    Raises MalformedError, naming the byte, where the body is broken; so does looking into a span that is.
    """
    try:
        return _decode(body, interest_of(vocabulary))
    except DecodeError:
        raise malformed(body) from None


def _decode(body: bytes, interest: Interest) -> DecodedRequest:
    request = messages.Request.FromString(body)
    rejections = Rejections()
    encoded: list[EncodedSpans] = []
    passed: list[bytes] = []
    span_count = 0
    for resource_spans in request.resource_spans:
        resource = Resource(resource_spans.resource, interest.reader)
        for scope_spans in resource_spans.scope_spans:
            raw_spans = scope_spans.spans[:]
            span_count += len(raw_spans)
            is_sifted = not all(map(interest.pattern.search, raw_spans[:: len(raw_spans) // _SAMPLE + 1]))
            if is_sifted:
                raw_spans = sift(raw_spans, interest, passed)
            if raw_spans:
                scope = scope_spans.scope
                encoded.append(
                    EncodedSpans(body, interest, resource, scope, raw_spans, rejections, is_sifted=is_sifted)
                )
    return DecodedRequest(
        encoded=encoded, links=pack_links(passed, rejections), span_count=span_count, rejections=rejections
    )
