"""Message classes with only the fields of OTLP that are read here.

They are built in a descriptor pool of their own, beside the generated ones, because what costs time is the number of
Python objects made from a request. `bytes` stands where the schema has a message that most spans are not asked for:
a span is parsed only if its bytes hold a marker, an attribute only if its key is wanted, and text that nobody reads
never becomes a string (nor fails a request by not being UTF-8). protobuf encodes `bytes`, `string` and messages alike.

Field numbers: opentelemetry-proto 1.x, trace/v1/trace.proto, common/v1/common.proto, resource/v1/resource.proto.
"""

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_Field = descriptor_pb2.FieldDescriptorProto

_PACKAGE = "spanmeter.wire"

# message -> (field, number, type, repeated); a type that is a string is a message of this table.
_SCHEMA: dict[str, tuple[tuple[str, int, "_Field.Type.ValueType | str", bool], ...]] = {
    "Request": (("resource_spans", 1, "ResourceSpans", True),),
    "ResourceSpans": (("resource", 1, "Resource", False), ("scope_spans", 2, "ScopeSpans", True)),
    "Resource": (("attributes", 1, _Field.TYPE_BYTES, True),),
    "ScopeSpans": (("scope", 1, "Scope", False), ("spans", 2, _Field.TYPE_BYTES, True)),
    "Scope": (("name", 1, _Field.TYPE_BYTES, False), ("version", 2, _Field.TYPE_BYTES, False)),
    "Span": (
        ("trace_id", 1, _Field.TYPE_BYTES, False),
        ("span_id", 2, _Field.TYPE_BYTES, False),
        ("parent_span_id", 4, _Field.TYPE_BYTES, False),
        ("name", 5, _Field.TYPE_BYTES, False),
        ("start_time_unix_nano", 7, _Field.TYPE_FIXED64, False),
        ("end_time_unix_nano", 8, _Field.TYPE_FIXED64, False),
        ("attributes", 9, _Field.TYPE_BYTES, True),
        ("status", 15, _Field.TYPE_BYTES, False),
        ("flags", 16, _Field.TYPE_FIXED32, False),
    ),
    "Status": (("code", 3, _Field.TYPE_INT32, False),),
    "KeyValue": (("key", 1, _Field.TYPE_BYTES, False), ("value", 2, "AnyValue", False)),
    "AnyValue": (
        ("string_value", 1, _Field.TYPE_BYTES, False),
        ("bool_value", 2, _Field.TYPE_BOOL, False),
        ("int_value", 3, _Field.TYPE_INT64, False),
        ("double_value", 4, _Field.TYPE_DOUBLE, False),
        ("array_value", 5, "ArrayValue", False),
        ("kvlist_value", 6, "KeyValueList", False),
        ("bytes_value", 7, _Field.TYPE_BYTES, False),
    ),
    "ArrayValue": (("values", 1, "AnyValue", True),),
    "KeyValueList": (("values", 1, "KeyValue", True),),
}

_ONEOF = ("AnyValue", "value")


def _pool() -> descriptor_pool.DescriptorPool:
    file = descriptor_pb2.FileDescriptorProto(name="spanmeter/wire.proto", package=_PACKAGE, syntax="proto3")
    for message_name, fields in _SCHEMA.items():
        message = file.message_type.add(name=message_name)
        if message_name == _ONEOF[0]:
            message.oneof_decl.add(name=_ONEOF[1])
        for name, number, kind, repeated in fields:
            field = message.field.add(
                name=name, number=number, label=_Field.LABEL_REPEATED if repeated else _Field.LABEL_OPTIONAL
            )
            if isinstance(kind, str):
                field.type = _Field.TYPE_MESSAGE
                field.type_name = f".{_PACKAGE}.{kind}"
            else:
                field.type = kind
            if message_name == _ONEOF[0]:
                field.oneof_index = 0
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return pool


_POOL = _pool()


def _message_class(name: str) -> Any:  # Any: classes made at run time have fields that no type checker can see
    return message_factory.GetMessageClass(_POOL.FindMessageTypeByName(f"{_PACKAGE}.{name}"))


Request = _message_class("Request")
Span = _message_class("Span")
Status = _message_class("Status")
KeyValue = _message_class("KeyValue")
