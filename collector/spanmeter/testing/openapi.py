"""The service's published schema of an event, where a copy of the file is at hand."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from spanmeter.testing.metering_event import Violation


def schema_check(path: Path) -> Callable[[list[Any]], list[Violation]]:
    """A check of batches by `MeteringEvent` in an OpenAPI 3.0 file. Needs PyYAML and jsonschema."""
    import jsonschema  # noqa: PLC0415 - test dependencies, for those who ask
    import yaml  # noqa: PLC0415

    # The C reader, where there is one, is ten times as fast on half a megabyte.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    document = yaml.load(path.read_text(encoding="utf-8"), Loader=loader)  # noqa: S506 - safe in both cases
    schema = _json_schema(document["components"]["schemas"]["MeteringEvent"])
    validator = jsonschema.Draft202012Validator(schema)

    def check(events: list[Any]) -> list[Violation]:
        return [
            Violation(
                field=".".join(str(part) for part in (index, *error.absolute_path)),
                rule=str(error.validator),
                reason=error.message,
            )
            for index, event in enumerate(events)
            for error in validator.iter_errors(event)
        ]

    return check


def _json_schema(node: dict[str, Any]) -> dict[str, Any]:
    """OpenAPI 3.0 as JSON Schema: `nullable` becomes a type, and its absence, even from `{}`, forbids null."""
    schema = {key: value for key, value in node.items() if key not in ("nullable", "example", "description", "title")}
    nullable = bool(node.get("nullable"))
    if "type" not in schema:
        if not schema and not nullable:
            return {"not": {"type": "null"}}
        return schema
    if nullable:
        schema["type"] = [schema["type"], "null"]
        if "enum" in schema:
            schema["enum"] = [*schema["enum"], None]
    if "properties" in schema:
        schema["properties"] = {name: _json_schema(inner) for name, inner in schema["properties"].items()}
    if isinstance(schema.get("additionalProperties"), dict):
        schema["additionalProperties"] = _json_schema(schema["additionalProperties"])
    return schema
