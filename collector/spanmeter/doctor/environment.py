"""Environment variables that would keep spans from being billed, and slips of the pen."""

from collections.abc import Iterator, Mapping

from spanmeter.doctor.finding import Finding, ok, warning, wrong
from spanmeter.errors import SettingsError
from spanmeter.settings import Settings, load, unknown_variables


def read_settings(environ: Mapping[str, str]) -> tuple[Settings | None, list[Finding]]:
    """The settings, None where they are wrong, and what was found."""
    found = [warning("settings", line, "correct or unset it") for line in unknown_variables(environ)]
    try:
        settings = load(environ)
    except SettingsError as error:
        mistakes = [wrong("settings", problem, "`spanmeter settings` lists them all") for problem in error.problems]
        return None, found + mistakes
    if not settings.enabled:
        found.append(warning("settings", "SPANMETER_ENABLED is false: the plug-in is off", "set it to true"))
    return settings, found or [ok("settings", "all right")]


def check_environment(environ: Mapping[str, str]) -> Iterator[Finding]:
    """OpenTelemetry's own variables, as the plug-in and an SDK in this environment would read them."""
    if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        yield wrong("sampler", "OTEL_SDK_DISABLED is true: nothing is traced here", "unset it")
        return
    name = environ.get("OTEL_TRACES_SAMPLER", "").strip().lower()
    argument = environ.get("OTEL_TRACES_SAMPLER_ARG", "").strip()
    if name in ("", "always_on", "parentbased_always_on"):
        yield ok("sampler", f"OTEL_TRACES_SAMPLER is {name or 'unset'}: every span is recorded")
    elif name in ("traceidratio", "parentbased_traceidratio") and _is_all(argument):
        yield ok("sampler", f"OTEL_TRACES_SAMPLER is {name} of 1: every span is recorded")
    else:
        yield warning(
            "sampler",
            f"OTEL_TRACES_SAMPLER is {name}: what it drops is billed by the plug-in, and not by a collector",
            "where traces reach spanmeter by OTLP, unset it, and sample behind spanmeter: in the other pipelines",
        )


def _is_all(argument: str) -> bool:
    """The ratio's default is 1."""
    try:
        return float(argument or "1") >= 1
    except ValueError:
        return False
