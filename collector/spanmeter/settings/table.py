"""Every setting: its variable, type, unit, default, bounds and meaning. The checks, `spanmeter settings` and the README
are made from this table."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, model_validator
from pydantic.fields import FieldInfo

from spanmeter.custom_dialects import DialectFile
from spanmeter.settings.kinds import (
    Estimates,
    ListenAddress,
    ProviderNames,
    SettlementMode,
    as_address,
    as_classes,
    as_dialect_file,
    as_endpoint,
    as_list,
    as_pairs,
    as_source,
    as_type_names,
    default_data_dir,
    usable_cores,
)

# tenant.id first: the name that most guides use. Then what the instrumentations make of a caller's own metadata
# (association properties, run metadata, telemetry metadata). User ids are left out: a user is no customer.
TENANT_ATTRIBUTES = (
    "tenant.id",
    "tenant_id",
    "customer.id",
    "customer_id",
    "organization.id",
    "traceloop.association.properties.tenant_id",
    "ai.telemetry.metadata.tenantId",
    "langsmith.metadata.tenant_id",
    "metadata#tenant_id",
)


def _setting(
    env: str,
    default: Any,
    description: str,
    *,
    unit: str = "",
    shown: str | None = None,
    masked: bool = False,
    **checks: Any,
) -> Any:
    """A field with its variable's name. `shown` is the default as the documentation writes it; a `masked` value is part
    of no message."""
    extra: dict[str, Any] = {"env": env, "unit": unit, "shown": shown, "masked": masked}
    if callable(default):
        return Field(default_factory=default, description=description, json_schema_extra=extra, **checks)
    return Field(default=default, description=description, json_schema_extra=extra, **checks)


Address = Annotated[ListenAddress | None, BeforeValidator(as_address)]


class Settings(BaseModel):
    """All settings, checked. Build it with `load`, which reads the environment and reports every mistake at once."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    konnect_token: SecretStr | None = _setting(
        "KONNECT_TOKEN",
        None,
        "Konnect token with the Ingest role (`spat_…` or `kpat_…`). None: local ledger only.",
        masked=True,
    )
    konnect_token_file: Path | None = _setting(
        "KONNECT_TOKEN_FILE", None, "File that holds the token; read again when the service refuses it."
    )
    konnect_region: Literal["us", "eu", "au", "me", "in", "sg"] = _setting(
        "KONNECT_REGION", "us", "Konnect region whose events endpoint is used: us, eu, au, me, in or sg."
    )
    endpoint: Annotated[str | None, BeforeValidator(as_endpoint)] = _setting(
        "SPANMETER_ENDPOINT",
        None,
        "Full URL of an events endpoint instead of the region's, such as `http://localhost:8888/api/v1/events`.",
        masked=True,
    )
    data_dir: Path = _setting(
        "SPANMETER_DATA_DIR",
        default_data_dir,
        "Folder of the journal, outbox and ledger.",
        shown="~/.local/state/spanmeter",
    )
    otlp_grpc: Address = _setting(
        "SPANMETER_OTLP_GRPC",
        ListenAddress("127.0.0.1", 4317),
        "Where `serve` listens for OTLP over gRPC; `off` disables it.",
    )
    otlp_http: Address = _setting(
        "SPANMETER_OTLP_HTTP",
        ListenAddress("127.0.0.1", 4318),
        "Where `serve` listens for OTLP over HTTP, and answers /healthz and /readyz; `off` disables it.",
    )
    processes: int = _setting(
        "SPANMETER_PROCESSES",
        1,
        "Processes that receive in `serve`; 0: one for each core. Linux spreads connections over them.",
        ge=0,
        le=64,
    )
    max_body_bytes: int = _setting(
        "SPANMETER_MAX_BODY_BYTES",
        64 * 1024 * 1024,
        "Largest OTLP request, also after decompression.",
        unit="bytes",
        ge=1024,
        le=1024**3,
    )
    tenant_attributes: Annotated[tuple[str, ...], BeforeValidator(as_list)] = _setting(
        "SPANMETER_TENANT_ATTRIBUTES",
        TENANT_ATTRIBUTES,
        "Attribute keys that name the tenant, in order; `key#name` reads `name` inside a JSON value.",
        min_length=1,
    )
    default_subject: str | None = _setting(
        "SPANMETER_DEFAULT_SUBJECT",
        None,
        "Tenant of calls that name none. Unset: they are parked until you assign one.",
        min_length=1,
    )
    token_classes: Annotated[tuple[str, ...], BeforeValidator(as_classes)] = _setting(
        "SPANMETER_TOKEN_CLASSES",
        ("input", "output"),
        "Classes billed apart, of `input,cache_read,cache_write,output,reasoning`. They are disjoint: a class "
        "left out is counted in `input` or `output`.",
    )
    type_names: Annotated[tuple[str, ...] | None, BeforeValidator(as_type_names)] = _setting(
        "SPANMETER_TYPE_NAMES",
        None,
        "Names in `data.type` for input and output, such as `request,response` as Kong AI Gateway has them.",
    )
    estimates: Estimates = _setting(
        "SPANMETER_ESTIMATES",
        Estimates.PARK,
        'Counts known to be an instrumentation\'s guess: `park` them, or `bill` them with `"estimated":true`.',
    )
    provider_names: ProviderNames = _setting(
        "SPANMETER_PROVIDER_NAMES",
        ProviderNames.KONNECT,
        "`konnect`: the names that Konnect's LLM cost database knows; `semconv`: OpenTelemetry's.",
    )
    dimensions: Annotated[Mapping[str, str], BeforeValidator(as_pairs)] = _setting(
        "SPANMETER_DIMENSIONS", dict, "Further attributes to copy into `data`: `tier=tenant.tier,…`.", shown=""
    )
    dialect_file: Annotated[DialectFile | None, BeforeValidator(as_dialect_file)] = _setting(
        "SPANMETER_DIALECT_FILE",
        None,
        "TOML or JSON file that describes the spans of your own instrumentation, see docs/dialects.md.",
    )
    event_type: str = _setting("SPANMETER_EVENT_TYPE", "kong.llm_request", "CloudEvents `type`.", min_length=1)
    event_source: Annotated[str, BeforeValidator(as_source)] = _setting(
        "SPANMETER_EVENT_SOURCE",
        "spanmeter",
        "CloudEvents `source`; a part of what the service deduplicates by.",
        min_length=1,
    )
    trace_quiet_s: float = _setting(
        "SPANMETER_TRACE_QUIET_S",
        5.0,
        "A trace whose root has ended is decided after so long a silence.",
        unit="s",
        ge=0,
        le=3600,
    )
    trace_max_s: float = _setting(
        "SPANMETER_TRACE_MAX_S", 60.0, "A trace is decided at this age at the latest.", unit="s", ge=0, le=86400
    )
    memory_h: float = _setting(
        "SPANMETER_MEMORY_H",
        24.0,
        "How long decisions are remembered, for spans that come late or twice.",
        unit="h",
        gt=0,
        le=24 * 366,
    )
    min_free_mb: int = _setting(
        "SPANMETER_MIN_FREE_MB",
        256,
        "Disk space kept free: with less, senders are told to come again (503, UNAVAILABLE).",
        unit="MiB",
        ge=0,
    )
    max_data_mb: int = _setting(
        "SPANMETER_MAX_DATA_MB",
        0,
        "Most that the data folder may take before senders are told so; 0: no limit.",
        unit="MiB",
        ge=0,
    )
    keep_bodies_days: float = _setting(
        "SPANMETER_KEEP_BODIES_DAYS",
        35.0,
        "How long sent events can be sent again; the record of them is kept for `SPANMETER_KEEP_LEDGER_DAYS`.",
        unit="days",
        gt=0,
    )
    keep_ledger_days: float = _setting(
        "SPANMETER_KEEP_LEDGER_DAYS",
        800.0,
        "How long the record of what was billed is kept: for `spanmeter usage`, and against billing it twice.",
        unit="days",
        gt=0,
    )
    batch_events: int = _setting(
        "SPANMETER_BATCH_EVENTS", 100, "Most events in one request to the service.", unit="events", ge=1, le=10_000
    )
    batches_in_flight: int = _setting(
        "SPANMETER_BATCHES_IN_FLIGHT", 4, "Most requests to the service at a time.", unit="requests", ge=1, le=64
    )
    batch_bytes: int = _setting(
        "SPANMETER_BATCH_BYTES", 512 * 1024, "Most bytes in one request to the service.", unit="bytes", ge=1024
    )
    batch_interval_s: float = _setting(
        "SPANMETER_BATCH_INTERVAL_S", 1.0, "Longest time an event waits for its batch to fill.", unit="s", ge=0, le=3600
    )
    send_timeout_s: float = _setting(
        "SPANMETER_SEND_TIMEOUT_S", 10.0, "How long the service may take to answer.", unit="s", gt=0, le=600
    )
    settlement: SettlementMode = _setting(
        "SPANMETER_SETTLEMENT",
        SettlementMode.AUTO,
        "`auto`: events are read back from the service where the token may list them; `off`: never.",
    )
    flush_ms: int = _setting(
        "SPANMETER_FLUSH_MS",
        100,
        "Plug-in: a span that has ended is on disk after so long at the latest.",
        unit="ms",
        ge=0,
        le=60_000,
    )
    stream_usage: bool = _setting(
        "SPANMETER_STREAM_USAGE",
        True,
        "Plug-in: streamed chat completions of the `openai` client are asked for their usage; `false` leaves them be.",
    )
    shutdown_s: float = _setting(
        "SPANMETER_SHUTDOWN_S",
        5.0,
        "Longest time that stopping may take to send what is pending.",
        unit="s",
        ge=0,
        le=600,
    )
    enabled: bool = _setting("SPANMETER_ENABLED", True, "`false` turns the plug-in off.")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = _setting(
        "SPANMETER_LOG_LEVEL", "INFO", "Least severe log line that `serve` prints: DEBUG, INFO, WARNING or ERROR."
    )

    @model_validator(mode="after")
    def _fits_together(self) -> "Settings":
        problems = []
        if self.konnect_token and self.konnect_token_file:
            problems.append("KONNECT_TOKEN and KONNECT_TOKEN_FILE are both set: unset one of them")
        if self.trace_max_s < self.trace_quiet_s:
            problems.append("SPANMETER_TRACE_MAX_S is less than SPANMETER_TRACE_QUIET_S: raise one or lower the other")
        if self.memory_h * 3600 < self.trace_max_s:
            # A journal row may be read again for so long: forgotten, its spans would be counted twice.
            problems.append("SPANMETER_MEMORY_H is less than SPANMETER_TRACE_MAX_S: raise one or lower the other")
        if self.keep_ledger_days * 24 < self.memory_h:
            problems.append("SPANMETER_KEEP_LEDGER_DAYS is less than SPANMETER_MEMORY_H: raise one or lower the other")
        if problems:
            raise ValueError("\n".join(problems))
        return self

    @property
    def receiving_processes(self) -> int:
        return self.processes or usable_cores()

    @property
    def delivers(self) -> bool:
        """Whether there is a service to send events to."""
        return self.endpoint is not None or self.has_token

    @property
    def has_token(self) -> bool:
        return self.konnect_token is not None or self.konnect_token_file is not None


def variables() -> dict[str, str]:
    """Environment variable to field name, in the order of documentation."""
    return {notes_of(field)["env"]: name for name, field in Settings.model_fields.items()}


def notes_of(field: FieldInfo) -> dict[str, Any]:
    """What `_setting` noted beside the field: env, unit, shown, masked."""
    extra = field.json_schema_extra
    assert isinstance(extra, dict)
    return dict(extra)
