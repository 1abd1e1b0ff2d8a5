"""All checks in order."""

import os
from collections.abc import Iterator, Mapping

from spanmeter.doctor.environment import check_environment, read_settings
from spanmeter.doctor.finding import Finding
from spanmeter.doctor.folder import check_folder
from spanmeter.doctor.instrumentations import (
    check_instrumentations,
    check_libraries,
    installed_genai,
    installed_versions,
)
from spanmeter.doctor.service import check_service
from spanmeter.libraries import plan


def examine(environ: Mapping[str, str] = os.environ) -> Iterator[Finding]:
    """Every finding as it is made; under two minutes in the worst case. Sends no usage, changes nothing."""
    settings, found = read_settings(environ)
    yield from found
    if settings is not None:
        yield from check_folder(settings.data_dir, min_free_bytes=settings.min_free_mb * 2**20)
        yield from check_service(settings)
    yield from check_environment(environ)
    yield from check_libraries(plan(installed_versions()))
    yield from check_instrumentations(
        installed_genai(), disabled=environ.get("OTEL_PYTHON_DISABLED_INSTRUMENTATIONS", "")
    )
