"""Coverage-guided fuzzing of the decoders: `python -m tests.chaos.decoders -max_total_time=60`, where the extra `fuzz`
is installed. Only `RequestError` may come out of them; anything else ends the run with the input that did it."""

import gzip
import importlib
import sys
import tempfile
import zlib
from pathlib import Path
from typing import Any

from spanmeter.errors import RequestError
from spanmeter.settings import TENANT_ATTRIBUTES
from spanmeter.usage.recognition import Recogniser
from tests.chaos.http_face import VALID_JSON, VALID_PROTOBUF

LIMIT_BYTES = 1 << 20
_WAYS = (
    ("application/x-protobuf", ""),
    ("application/json", ""),
    ("application/x-protobuf", "gzip"),
    ("application/json", "deflate"),
)


def fuzz_one(data: bytes) -> None:
    """The first byte chooses how the rest is decoded; what was decoded is recognised too."""
    from spanmeter.wire.body import decode, inflate

    if not data:
        return
    content_type, encoding = _WAYS[data[0] % len(_WAYS)]
    recogniser = Recogniser(tenant_attributes=TENANT_ATTRIBUTES)
    try:
        request = decode(inflate(data[1:], encoding, limit=LIMIT_BYTES), content_type, recogniser.vocabulary())
    except RequestError:
        return
    for span in request.spans:
        recogniser.facts(span, received_ns=1, credential_tenant="")


def main() -> None:
    try:
        atheris: Any = importlib.import_module("atheris")
    except ImportError:
        sys.exit("atheris is not installed: pip install -e '.[fuzz]'")
    with atheris.instrument_imports(include=["spanmeter.wire"]):
        importlib.import_module("spanmeter.wire.body")
    with tempfile.TemporaryDirectory(prefix="spanmeter-corpus-") as corpus:
        packed = gzip.compress(VALID_PROTOBUF), zlib.compress(VALID_JSON)
        for way, body in enumerate((VALID_PROTOBUF, VALID_JSON, *packed)):
            (Path(corpus) / str(way)).write_bytes(bytes([way]) + body)
        atheris.Setup([*sys.argv, corpus], fuzz_one)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
