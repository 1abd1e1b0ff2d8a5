from spanmeter.wire.request import Rejections


def test_nothing_rejected_has_no_message() -> None:
    assert (Rejections().count, Rejections().message) == (0, "")


def test_reasons_are_counted_and_bounded() -> None:
    rejections = Rejections()
    for length in (1, 1, 1, 2, 2, 3, 4, 5):
        rejections.add(f"trace_id of {length} bytes instead of 16")
    assert rejections.count == 8
    assert rejections.message == (
        "8 spans rejected: trace_id of 1 bytes instead of 16 (3), trace_id of 2 bytes instead of 16 (2), "
        "trace_id of 3 bytes instead of 16 (1), other faults (2)"
    )


def test_one_reason_stands_alone() -> None:
    rejections = Rejections()
    rejections.add("span_id all zero")
    rejections.add("span_id all zero")
    assert rejections.message == "2 spans rejected: span_id all zero"
