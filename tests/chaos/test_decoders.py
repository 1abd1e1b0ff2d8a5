"""The decoders under noise, in the form that the coverage-guided fuzzer also runs."""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.chaos.decoders import fuzz_one
from tests.chaos.http_face import bodies


@settings(max_examples=500, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(way=st.integers(0, 3), body=bodies())
def test_only_request_errors_come_out(way: int, body: bytes) -> None:
    fuzz_one(bytes([way]) + body)
