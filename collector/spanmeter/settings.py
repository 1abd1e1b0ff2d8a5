"""Every setting: its variable, type, unit, default and meaning, in one table that the checks, `spanmeter settings` and
the README are made from.
"""

import difflib
import os
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationError, model_validator
from pydantic.fields import FieldInfo

from spanmeter.binding import OWN_NAMES
from spanmeter.custom_dialects import DialectFile, read_dialect_file
from spanmeter.errors import SettingsError

TOKEN_CLASSES = ("input", "cache_read", "cache_write", "output", "reasoning")

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


class ProviderNames(StrEnum):
    """Whose names `data.provider` uses."""

    KONNECT = "konnect"
    SEMCONV = "semconv"


class Estimates(StrEnum):
    """What becomes of counts that an instrumentation guessed."""

    PARK = "park"
    BILL = "bill"


class SettlementMode(StrEnum):
    """Whether what was sent is read back from the service."""

    AUTO = "auto"
    OFF = "off"


@dataclass(frozen=True, slots=True)
class ListenAddress:
    """Where a server listens."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def _address(value: object) -> object:
    if not isinstance(value, str):
        return value
    if value.lower() == "off":
        return None
    match = re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):([0-9]{1,5})", value)
    if not match or int(match[2]) > 65535:
        raise ValueError(f"{value!r} is not host:port (such as 127.0.0.1:4317 or [::1]:4317) or off")
    return ListenAddress(match[1].strip("[]"), int(match[2]))


def _listed(value: object) -> object:
    """Comma-separated text to a tuple; empty parts fall away."""
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


def _pairs(value: object) -> object:
    """`name=attribute,name=attribute` to a mapping."""
    if not isinstance(value, str):
        return value
    pairs: dict[str, str] = {}
    for part in _listed(value):  # type: ignore[attr-defined]
        name, equals, attribute = part.partition("=")
        if not equals or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name.strip()) or not attribute.strip():
            raise ValueError(f"{part!r} is not name=attribute with a name of letters, digits and underscores")
        if name.strip() in pairs:
            raise ValueError(f"{name.strip()} is there twice")
        pairs[name.strip()] = attribute.strip()
    reserved = OWN_NAMES & pairs.keys()
    if reserved:
        raise ValueError(f"{', '.join(sorted(reserved))}: spanmeter's own names cannot be used as dimensions")
    return pairs


def _classes(value: object) -> object:
    classes = _listed(value)
    if isinstance(classes, tuple):
        unknown = [name for name in classes if name not in TOKEN_CLASSES]
        if unknown:
            raise ValueError(f"{', '.join(unknown)}: not a token class; there are {', '.join(TOKEN_CLASSES)}")
        if not {"input", "output"} <= set(classes) or len(set(classes)) != len(classes):
            raise ValueError("names input and output, and each class once: a class left out is counted in one of these")
    return classes


def _type_names(value: object) -> object:
    names = _listed(value)
    if isinstance(names, tuple) and (
        len(names) != 2 or names[0] == names[1] or {"cache_read", "cache_write", "reasoning"} & set(names)
    ):
        raise ValueError("is two different names, for input and for output, such as request,response")
    return names


def _source(value: object) -> object:
    # Konnect parses `source` as a URI reference with Go's url.Parse: a colon in the first path segment is refused
    # (cloudevents/sdk-go v2 event_unmarshal.go, readUriRef).
    if isinstance(value, str) and not re.fullmatch(r"[A-Za-z0-9._/-]+", value):
        raise ValueError("may have letters, digits and . _ - / only: the service parses it as a URI reference")
    return value


def _dialect_file(value: object) -> object:
    return read_dialect_file(Path(value)) if isinstance(value, str) else value


def _endpoint(value: object) -> object:
    # Checked here, so that no message, and not `spanmeter settings`, ever shows it.
    if isinstance(value, str) and "@" in value.partition("://")[2].partition("/")[0]:
        raise ValueError("has credentials in it; put the token into KONNECT_TOKEN or KONNECT_TOKEN_FILE")
    return value


def _data_dir() -> Path:
    state = os.environ.get("XDG_STATE_HOME")
    try:
        return (Path(state) if state else Path.home() / ".local" / "state") / "spanmeter"
    except RuntimeError:  # no HOME, and no such user
        return Path(tempfile.gettempdir()) / f"spanmeter-{os.getuid()}"


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


Address = Annotated[ListenAddress | None, BeforeValidator(_address)]


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
    endpoint: Annotated[str | None, BeforeValidator(_endpoint)] = _setting(
        "SPANMETER_ENDPOINT",
        None,
        "Full URL of an events endpoint instead of the region's, such as `http://localhost:8888/api/v1/events`.",
        masked=True,
    )
    data_dir: Path = _setting(
        "SPANMETER_DATA_DIR", _data_dir, "Folder of the journal, outbox and ledger.", shown="~/.local/state/spanmeter"
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
    max_body_bytes: int = _setting(
        "SPANMETER_MAX_BODY_BYTES",
        64 * 1024 * 1024,
        "Largest OTLP request, also after decompression.",
        unit="bytes",
        ge=1024,
        le=1024**3,
    )
    tenant_attributes: Annotated[tuple[str, ...], BeforeValidator(_listed)] = _setting(
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
    token_classes: Annotated[tuple[str, ...], BeforeValidator(_classes)] = _setting(
        "SPANMETER_TOKEN_CLASSES",
        ("input", "output"),
        "Classes billed apart, of `input,cache_read,cache_write,output,reasoning`. They are disjoint: a class "
        "left out is counted in `input` or `output`.",
    )
    type_names: Annotated[tuple[str, ...] | None, BeforeValidator(_type_names)] = _setting(
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
    dimensions: Annotated[Mapping[str, str], BeforeValidator(_pairs)] = _setting(
        "SPANMETER_DIMENSIONS", dict, "Further attributes to copy into `data`: `tier=tenant.tier,…`.", shown=""
    )
    dialect_file: Annotated[DialectFile | None, BeforeValidator(_dialect_file)] = _setting(
        "SPANMETER_DIALECT_FILE",
        None,
        "TOML or JSON file that describes the spans of your own instrumentation, see docs/dialects.md.",
    )
    event_type: str = _setting("SPANMETER_EVENT_TYPE", "kong.llm_request", "CloudEvents `type`.", min_length=1)
    event_source: Annotated[str, BeforeValidator(_source)] = _setting(
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
    def delivers(self) -> bool:
        """Whether there is a service to send events to."""
        return self.endpoint is not None or self.has_token

    @property
    def has_token(self) -> bool:
        return self.konnect_token is not None or self.konnect_token_file is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingRow:
    """One setting, as documentation shows it. `value` is the present one, a secret masked."""

    variable: str
    type: str
    unit: str
    default: str
    value: str
    description: str


def variables() -> dict[str, str]:
    """Environment variable to field name, in the order of documentation."""
    return {_extra(field)["env"]: name for name, field in Settings.model_fields.items()}


def load(environ: Mapping[str, str]) -> Settings:
    """Settings from environment variables; an empty variable counts as unset.

    Raises `SettingsError` with one line for every mistake, each with the variable and what would be right. The value
    of a secret is never part of a message.
    """
    names = variables()
    given = {field: environ[env].strip() for env, field in names.items() if environ.get(env, "").strip()}
    try:
        return Settings.model_validate(given)
    except ValidationError as error:
        problems = _problems(error)
    # What does not fit together is only looked at when every value is right by itself: look at those that are.
    wrong = {line.partition(":")[0] for line in problems}
    try:
        Settings.model_validate({field: value for field, value in given.items() if _variable(field) not in wrong})
    except ValidationError as error:
        problems += [
            line for line in _problems(error) if line not in problems and not any(name in line for name in wrong)
        ]
    raise SettingsError(problems)


def unknown_variables(environ: Mapping[str, str]) -> list[str]:
    """One line for each `SPANMETER_…` variable that is no setting: most likely a slip of the pen."""
    known = variables()
    lines = []
    for name in sorted(environ):
        if name.startswith("SPANMETER_") and name not in known and not name.startswith("SPANMETER_TEST_"):
            # Without the prefix, which would make any two of them look alike.
            ends = [variable.removeprefix("SPANMETER_") for variable in known if variable.startswith("SPANMETER_")]
            near = difflib.get_close_matches(name.removeprefix("SPANMETER_"), ends, n=1)
            lines.append(f"{name} is not a setting" + (f"; did you mean SPANMETER_{near[0]}?" if near else ""))
    return lines


def rows(settings: Settings) -> list[SettingRow]:
    """Every setting with its present value."""
    made = []
    for name, field in Settings.model_fields.items():
        extra = _extra(field)
        default = extra["shown"] if extra["shown"] is not None else _text(field.get_default(call_default_factory=True))
        value = getattr(settings, name)
        made.append(
            SettingRow(
                variable=extra["env"],
                type=_type_name(field),
                unit=extra["unit"],
                default=default,
                value="********" if isinstance(value, SecretStr) else _without_query(_text(value), extra["masked"]),
                description=field.description or "",
            )
        )
    return made


def _without_query(shown: str, masked: bool) -> str:
    """A URL's query may hold a key."""
    before, query, _ = shown.partition("?")
    return f"{before}?********" if masked and query else shown


def _extra(field: FieldInfo) -> dict[str, Any]:
    extra = field.json_schema_extra
    assert isinstance(extra, dict)
    return dict(extra)


def _variable(name: str) -> str:
    return str(_extra(Settings.model_fields[name])["env"])


def _problems(error: ValidationError) -> list[str]:
    lines: list[str] = []
    for detail in error.errors(include_url=False):
        if detail["loc"]:
            lines += [_problem(detail | {"msg": part}) for part in detail["msg"].split("\n")]
        else:
            lines += detail["msg"].removeprefix("Value error, ").split("\n")
    return lines


def _problem(detail: Any) -> str:
    field = Settings.model_fields[str(detail["loc"][0])]
    message = str(detail["msg"]).removeprefix("Value error, ")
    shown = "" if _extra(field)["masked"] or repr(detail["input"]) in message else f" (found {detail['input']!r})"
    return f"{_extra(field)['env']}: {message[:1].lower()}{message[1:]}{shown}"


def _type_name(field: FieldInfo) -> str:
    annotation = field.annotation
    if annotation in (int, float, bool, str):
        return {int: "integer", float: "number", bool: "true or false", str: "text"}[annotation]  # type: ignore[index]
    words = str(annotation)
    for sign, name in (
        ("ListenAddress", "host:port"),
        ("SecretStr", "secret"),
        ("DialectFile", "path"),
        ("Path", "path"),
        ("Mapping", "pairs"),
        ("tuple", "list"),
    ):
        if sign in words:
            return name
    choices = get_args(annotation)
    if isinstance(annotation, type) and issubclass(annotation, StrEnum):
        choices = tuple(member.value for member in annotation)
    if choices and all(isinstance(choice, str) for choice in choices):
        return "one of " + ", ".join(choices)
    return "text"


def _text(value: object) -> str:
    match value:
        case None:
            return ""
        case bool():
            return str(value).lower()
        case tuple():
            return ",".join(str(part) for part in value)
        case dict():
            return ",".join(f"{name}={attribute}" for name, attribute in value.items())
        case float():
            return f"{value:g}"
        case _:
            return str(value)
