import pytest

from spanmeter.settings import Settings, load, rows, variables

GIVEN = {
    "KONNECT_TOKEN": "spat_verysecretvalue",
    "SPANMETER_OTLP_GRPC": "[::1]:99",
    "SPANMETER_OTLP_HTTP": "off",
    "SPANMETER_DIMENSIONS": "tier=tenant.tier,zone=cloud.zone",
    "SPANMETER_TOKEN_CLASSES": "input,output,reasoning",
    "SPANMETER_TRACE_QUIET_S": "0.25",
    "SPANMETER_ENABLED": "no",
    "SPANMETER_PROVIDER_NAMES": "semconv",
    "SPANMETER_DATA_DIR": "/d",
}


def test_every_field_in_order() -> None:
    table = rows(load({}))
    assert [row.variable for row in table] == list(variables())
    assert len(table) == len(Settings.model_fields)
    assert all(row.type and row.description for row in table)


def test_values_as_they_would_be_written() -> None:
    values = {row.variable: row.value for row in rows(load(GIVEN))}
    shown = {name: values[name] for name in GIVEN}
    assert shown == GIVEN | {"KONNECT_TOKEN": "********", "SPANMETER_OTLP_HTTP": "", "SPANMETER_ENABLED": "false"}


def test_a_secret_is_masked_in_every_column() -> None:
    assert "verysecret" not in repr(rows(load(GIVEN)))


def test_defaults_do_not_depend_on_values_or_the_machine() -> None:
    assert [row.default for row in rows(load(GIVEN))] == [row.default for row in rows(load({}))]
    assert {row.variable: row.default for row in rows(load({}))}["SPANMETER_DATA_DIR"] == "~/.local/state/spanmeter"


@pytest.mark.parametrize(
    ("variable", "type_name", "unit"),
    [
        ("KONNECT_TOKEN", "secret", ""),
        ("KONNECT_TOKEN_FILE", "path", ""),
        ("KONNECT_REGION", "one of us, eu, au, me, in, sg", ""),
        ("SPANMETER_OTLP_GRPC", "host:port", ""),
        ("SPANMETER_TENANT_ATTRIBUTES", "list", ""),
        ("SPANMETER_TYPE_NAMES", "list", ""),
        ("SPANMETER_DIMENSIONS", "pairs", ""),
        ("SPANMETER_ENDPOINT", "text", ""),
        ("SPANMETER_PROVIDER_NAMES", "one of konnect, semconv", ""),
        ("SPANMETER_TRACE_QUIET_S", "number", "s"),
        ("SPANMETER_MEMORY_H", "number", "h"),
        ("SPANMETER_FLUSH_MS", "integer", "ms"),
        ("SPANMETER_BATCH_BYTES", "integer", "bytes"),
        ("SPANMETER_ENABLED", "true or false", ""),
    ],
)
def test_types_and_units(variable: str, type_name: str, unit: str) -> None:
    [row] = [row for row in rows(load({})) if row.variable == variable]
    assert (row.type, row.unit) == (type_name, unit)
