from collections.abc import Mapping
from pathlib import Path

import pytest

from spanmeter.errors import SettingsError
from spanmeter.settings import (
    TENANT_ATTRIBUTES,
    Estimates,
    ListenAddress,
    ProviderNames,
    Settings,
    SettlementMode,
    load,
    unknown_variables,
    usable_cores,
    variables,
)

SECRET = "spat_verysecretvalue"


def problems(environ: Mapping[str, str]) -> tuple[str, ...]:
    with pytest.raises(SettingsError) as caught:
        load(environ)
    assert str(caught.value) == "settings: " + "; ".join(caught.value.problems)
    return caught.value.problems


def test_every_default() -> None:
    settings = load({"SPANMETER_DATA_DIR": "/d"})
    assert {name: getattr(settings, name) for name in Settings.model_fields} == {
        "konnect_token": None,
        "konnect_token_file": None,
        "konnect_region": "us",
        "endpoint": None,
        "data_dir": Path("/d"),
        "otlp_grpc": ListenAddress("127.0.0.1", 4317),
        "otlp_http": ListenAddress("127.0.0.1", 4318),
        "processes": 1,
        "max_body_bytes": 64 * 1024 * 1024,
        "tenant_attributes": TENANT_ATTRIBUTES,
        "default_subject": None,
        "token_classes": ("input", "output"),
        "type_names": None,
        "estimates": Estimates.PARK,
        "dialect_file": None,
        "provider_names": ProviderNames.KONNECT,
        "dimensions": {},
        "event_type": "kong.llm_request",
        "event_source": "spanmeter",
        "trace_quiet_s": 5.0,
        "trace_max_s": 60.0,
        "memory_h": 24.0,
        "min_free_mb": 256,
        "max_data_mb": 0,
        "keep_bodies_days": 35.0,
        "keep_ledger_days": 800.0,
        "batch_events": 100,
        "batches_in_flight": 4,
        "batch_bytes": 512 * 1024,
        "batch_interval_s": 1.0,
        "send_timeout_s": 10.0,
        "settlement": SettlementMode.AUTO,
        "flush_ms": 100,
        "stream_usage": True,
        "shutdown_s": 5.0,
        "enabled": True,
        "log_level": "INFO",
    }


def test_the_data_folder_follows_xdg(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "/state")
    assert load({}).data_dir == Path("/state/spanmeter")
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", "/home/me")
    assert load({}).data_dir == Path("/home/me/.local/state/spanmeter")


@pytest.mark.parametrize("empty", ["", " ", "\t"])
def test_an_empty_variable_is_unset(empty: str) -> None:
    assert load(dict.fromkeys(variables(), empty)) == load({})


def test_blanks_around_a_value_do_not_count() -> None:
    assert load({"SPANMETER_BATCH_EVENTS": " 7 "}).batch_events == 7


class TestMistakes:
    def test_all_are_told_at_once(self) -> None:
        environ = {
            "KONNECT_REGION": "mars",
            "SPANMETER_OTLP_GRPC": "4317",
            "SPANMETER_BATCH_EVENTS": "0",
            "SPANMETER_TOKEN_CLASSES": "input,thoughts",
            "SPANMETER_TRACE_QUIET_S": "soon",
            "KONNECT_TOKEN": SECRET,
            "KONNECT_TOKEN_FILE": "/token",
        }
        found = problems(environ)
        assert sorted(line.split(":")[0].split(" ")[0] for line in found) == sorted(
            set(environ) - {"KONNECT_TOKEN_FILE"}
        )

    @pytest.mark.parametrize(
        ("variable", "value", "what_is_right"),
        [
            ("KONNECT_REGION", "mars", "'eu'"),
            ("SPANMETER_OTLP_HTTP", "4318", "127.0.0.1:4317"),
            ("SPANMETER_TOKEN_CLASSES", "input,output,thoughts", "cache_read"),
            ("SPANMETER_TYPE_NAMES", "request", "request,response"),
            ("SPANMETER_DIMENSIONS", "tier", "name=attribute"),
            ("SPANMETER_EVENT_SOURCE", "a:b", "letters, digits"),
            ("SPANMETER_BATCH_EVENTS", "many", "integer"),
            ("SPANMETER_BATCH_EVENTS", "10001", "10000"),
            ("SPANMETER_MAX_BODY_BYTES", "1", "1024"),
            ("SPANMETER_MEMORY_H", "0", "greater than 0"),
            ("SPANMETER_SEND_TIMEOUT_S", "nan", "600"),
            ("SPANMETER_ENABLED", "perhaps", "boolean"),
            ("SPANMETER_LOG_LEVEL", "LOUD", "'WARNING'"),
            ("SPANMETER_PROVIDER_NAMES", "mine", "'semconv'"),
            ("SPANMETER_TENANT_ATTRIBUTES", ",", "at least 1"),
        ],
    )
    def test_variable_and_what_would_be_right(self, variable: str, value: str, what_is_right: str) -> None:
        [line] = problems({variable: value})
        assert line.startswith(f"{variable}: ")
        assert what_is_right in line

    def test_a_value_is_shown_once(self) -> None:
        [line] = problems({"KONNECT_REGION": "mars"})
        assert line.count("mars") == 1

    def test_token_and_file(self) -> None:
        [line] = problems({"KONNECT_TOKEN": SECRET, "KONNECT_TOKEN_FILE": "/token"})
        assert line == "KONNECT_TOKEN and KONNECT_TOKEN_FILE are both set: unset one of them"

    def test_times_that_do_not_fit_together(self) -> None:
        assert len(problems({"SPANMETER_TRACE_MAX_S": "3", "SPANMETER_MEMORY_H": "0.0001"})) == 2
        [line] = problems({"SPANMETER_MEMORY_H": "0.01"})
        assert line.startswith("SPANMETER_MEMORY_H is less than SPANMETER_TRACE_MAX_S")
        assert load({"SPANMETER_TRACE_MAX_S": "5"}).trace_max_s == 5

    def test_no_conflict_is_told_of_a_default_in_the_place_of_a_mistake(self) -> None:
        [line] = problems({"SPANMETER_TRACE_QUIET_S": "short", "SPANMETER_TRACE_MAX_S": "1"})
        assert line.startswith("SPANMETER_TRACE_QUIET_S: ")


class TestSecrets:
    def test_are_in_no_message(self) -> None:
        for more in ({"KONNECT_TOKEN_FILE": "/token"}, {"SPANMETER_BATCH_EVENTS": "x"}):
            assert SECRET not in str(problems({"KONNECT_TOKEN": SECRET} | more))

    def test_are_in_no_representation(self) -> None:
        settings = load({"KONNECT_TOKEN": SECRET})
        for text in (repr(settings), str(settings), str(settings.model_dump()), settings.model_dump_json()):
            assert SECRET not in text
        assert settings.konnect_token is not None
        assert settings.konnect_token.get_secret_value() == SECRET


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:4317", ListenAddress("127.0.0.1", 4317)),
        ("0.0.0.0:1", ListenAddress("0.0.0.0", 1)),
        ("my-host.example:65535", ListenAddress("my-host.example", 65535)),
        ("[::1]:4317", ListenAddress("::1", 4317)),
        ("[::]:0", ListenAddress("::", 0)),
        ("off", None),
        ("OFF", None),
    ],
)
def test_listen_addresses(text: str, address: ListenAddress | None) -> None:
    settings = load({"SPANMETER_OTLP_GRPC": text, "SPANMETER_OTLP_HTTP": text})
    assert settings.otlp_grpc == settings.otlp_http == address
    if address is not None:
        assert str(address) == text


@pytest.mark.parametrize(
    "text",
    ["4317", ":4317", "host:", "host:-1", "host:65536", "host:x", "::1", "::1:80", "http://127.0.0.1:4317", "a b:1"],
)
def test_no_listen_address(text: str) -> None:
    [line] = problems({"SPANMETER_OTLP_GRPC": text})
    assert repr(text) in line
    assert "or off" in line


class TestTokenClasses:
    @pytest.mark.parametrize("text", ["output,input", " input , output ,cache_read,cache_write,reasoning,"])
    def test_lists(self, text: str) -> None:
        assert load({"SPANMETER_TOKEN_CLASSES": text}).token_classes == tuple(
            part.strip() for part in text.split(",") if part
        )

    @pytest.mark.parametrize("text", ["input", "output,reasoning", "input,output,input", "Input,output", "all"])
    def test_mistakes(self, text: str) -> None:
        assert len(problems({"SPANMETER_TOKEN_CLASSES": text})) == 1


class TestDimensions:
    def test_pairs(self) -> None:
        settings = load({"SPANMETER_DIMENSIONS": "tier=tenant.tier, region = cloud.region,"})
        assert settings.dimensions == {"tier": "tenant.tier", "region": "cloud.region"}

    @pytest.mark.parametrize(
        "text",
        ["tier", "=a", "a=", "1a=b", "a-b=c", *(f"{name}=x" for name in ("type", "tokens", "model", "provider"))],
    )
    def test_mistakes(self, text: str) -> None:
        assert len(problems({"SPANMETER_DIMENSIONS": text})) == 1


def test_lists_and_names() -> None:
    settings = load({"SPANMETER_TENANT_ATTRIBUTES": "a, b#c ,", "SPANMETER_TYPE_NAMES": "request,response"})
    assert settings.tenant_attributes == ("a", "b#c")
    assert settings.type_names == ("request", "response")


@pytest.mark.parametrize(
    ("environ", "delivers"),
    [
        ({}, False),
        ({"KONNECT_TOKEN": SECRET}, True),
        ({"KONNECT_TOKEN_FILE": "/token"}, True),
        ({"SPANMETER_ENDPOINT": "http://localhost:8888/api/v1/events"}, True),
    ],
)
def test_whether_there_is_a_service(environ: dict[str, str], delivers: bool) -> None:
    assert load(environ).delivers is delivers


def test_unknown_variables_are_pointed_out() -> None:
    assert unknown_variables(
        {"SPANMETER_TENANT_ATTRIBUTE": "x", "SPANMETER_X": "x", "OTHER": "x", "SPANMETER_BATCH_EVENTS": "1"}
    ) == [
        "SPANMETER_TENANT_ATTRIBUTE is not a setting; did you mean SPANMETER_TENANT_ATTRIBUTES?",
        "SPANMETER_X is not a setting",
    ]
    assert unknown_variables(dict.fromkeys(variables(), "x")) == []


def test_every_field_has_a_variable_of_its_own() -> None:
    assert sorted(variables().values()) == sorted(Settings.model_fields)


def test_processes_are_as_many_as_said_or_as_there_are_cores() -> None:
    assert load({}).receiving_processes == 1
    assert load({"SPANMETER_PROCESSES": "3"}).receiving_processes == 3
    assert load({"SPANMETER_PROCESSES": "0"}).receiving_processes == usable_cores() >= 1
