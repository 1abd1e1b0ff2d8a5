"""The HTTP face under requests that nobody should send: never a 500, never a hang, never more memory."""

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, example, given, settings

from tests.acceptance.collector import running_collector, running_service
from tests.acceptance.requests import call_request, new_response_id
from tests.acceptance.target import Target
from tests.chaos.http_face import ask, complaint_about, other_requests, tidy_requests

EXAMPLES = 400
HEAD = b"POST /v1/traces HTTP/1.1\r\nhost: x\r\ncontent-type: text/plain\r\n"
CHUNK_OF_NO_SIZE = HEAD + b"transfer-encoding: chunked\r\n\r\nno size\r\n"
"""Refused by its type by us, and by its body by the HTTP library: one of them answers."""
MEMORY_BYTES = 64 * 2**20


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    data_dir = tmp_path_factory.mktemp("http") / "data"
    with running_service() as service, running_collector(data_dir, service=service) as collector:
        target = Target(collector=collector, service=service)
        with target.growing_by_less_than(MEMORY_BYTES):
            yield target
        # After all of it, a good request is taken and billed, and the log has no word of a surprise.
        response_id = new_response_id()
        assert target.post(call_request(response_id).SerializeToString()).status_code == 200
        assert target.is_billed(response_id)
        log = collector.child.log.read_text()
        assert "Traceback" not in log, log[-3000:]
        assert "request failed" not in log


@settings(max_examples=EXAMPLES, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(request=tidy_requests())
def test_every_whole_request_is_answered_and_never_with_500(target: Target, request: bytes) -> None:
    answer = ask(target.collector.http_port, request)
    assert answer.status in {200, 400, 413, 415}, (answer, request)


@settings(max_examples=EXAMPLES // 2, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(request=other_requests())
@example(request=CHUNK_OF_NO_SIZE)
@example(request=CHUNK_OF_NO_SIZE.replace(b"POST", b"PUT"))
@example(request=CHUNK_OF_NO_SIZE.replace(b"/v1/traces", b"/"))
def test_what_is_no_request_ends_and_never_with_500(target: Target, request: bytes) -> None:
    answer = ask(target.collector.http_port, request, wait_s=0.05)
    assert complaint_about(answer) == "", request
