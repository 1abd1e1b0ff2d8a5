"""What the plug-in does not see in its process, told once at the end and kept for `spanmeter status`."""

import logging
import os
import re
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

from opentelemetry.instrumentation.instrumentor import BaseInstrumentor  # type: ignore[attr-defined]

from spanmeter.errors import StoreError
from spanmeter.ledger.unseen import unmetered_models
from spanmeter.libraries import LIBRARIES, Library, unseen
from spanmeter.settings import Settings
from spanmeter.store.database import Database
from spanmeter.store.unseen import keep_unseen
from spanmeter.usage.call import Role, SpanFacts
from spanmeter.usage.dialects.provider_names import semconv_provider
from spanmeter_instrumentation.complaints import announce, complain

KEEP_EVERY_S: Final = 60.0


class Sight:
    """Looks at what is journalled, at the loaded modules and at the instrumentors. Never raises."""

    def __init__(self) -> None:
        self._providers: set[str] = set()
        self._calls_without_usage = False
        self._since_ns = time.time_ns()
        self._keep_s = time.monotonic() + KEEP_EVERY_S
        self._kept: dict[str, str] = {}

    def note(self, facts: Iterable[SpanFacts], database: Database) -> None:
        """What was just journalled; once a minute, what is not seen goes into the database."""
        try:
            for one in facts:
                if one.call is not None and one.call.role is Role.CALL:
                    # LiteLLM calls many providers; its spans are known by their dialect.
                    self._providers |= {semconv_provider(one.call.provider), one.call.dialect}
                    self._calls_without_usage = self._calls_without_usage or one.call.usage is None
            if time.monotonic() >= self._keep_s:
                self._keep_s = time.monotonic() + KEEP_EVERY_S
                self._keep(self.unseen(), database)
        except Exception as error:  # a guest does not break its host, and what was journalled is journalled
            complain("what is not seen was not noted", error)

    def tell(self, settings: Settings) -> None:
        """At the process's end, after everything was journalled: one warning, if there is anything to warn of."""
        try:
            libraries = self.unseen()
            said = [f"no instrumentation sees the calls of {name} {release}" for name, release in libraries.items()]
            if libraries or self._kept or self._calls_without_usage:
                said += self._look(libraries, settings)
            if said:
                announce(
                    logging.WARNING,
                    "not metered: %s (`spanmeter bootstrap` and `unmetered` say what to do)",
                    "; ".join(said),
                )
        except Exception as error:  # a guest does not break its host
            complain("what is not seen was not told", error)

    def unseen(self) -> dict[str, str]:
        """Library to version."""
        versions = {library.distribution: _version(library.distribution) for library in LIBRARIES if _is_used(library)}
        found = unseen(
            in_use=versions.keys(), versions=versions, instrumented=set(_instrumented()), providers=self._providers
        )
        return {library.distribution: versions[library.distribution] for library in found}

    def _look(self, libraries: Mapping[str, str], settings: Settings) -> list[str]:
        """Keep what is not seen; how many calls had no usage by model, as far as their traces are decided."""
        try:
            database = Database.open(settings.data_dir)
        except StoreError as error:
            complain(f"what is not seen was not noted: {error}")
            return []
        try:
            self._keep(libraries, database)
            models = unmetered_models(database, since_ns=self._since_ns) if self._calls_without_usage else []
        finally:
            database.close()
        return [f"{row.calls} calls of {row.model or 'an unknown model'} had no usage" for row in models]

    def _keep(self, libraries: Mapping[str, str], database: Database) -> None:
        if libraries == self._kept:
            return
        keep_unseen(
            database,
            process=f"{os.getpid()}-{self._since_ns}",
            program=Path(sys.argv[0] or "python").name if sys.argv else "python",
            libraries=libraries,
            now_ns=time.time_ns(),
        )
        self._kept = dict(libraries)


def _is_used(library: Library) -> bool:
    module = sys.modules.get(library.module)
    if module is None or not library.client:
        return module is not None
    return any(made.__name__ == library.client for made in module.BaseClient.__subclasses__())


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return ""


def _instrumented() -> Iterator[str]:
    """The distributions that some working instrumentor of this process names: in its dependencies, or by its own
    module's name (botocore's has none)."""
    for kind in _kinds(BaseInstrumentor):
        instrumentor = vars(kind).get("_instance")
        if instrumentor is not None and instrumentor.is_instrumented_by_opentelemetry:
            for dependency in instrumentor.instrumentation_dependencies():
                yield re.split(r"[^A-Za-z0-9._-]", dependency, maxsplit=1)[0].replace("_", "-").lower()
            if ".botocore" in kind.__module__ or ".bedrock" in kind.__module__:
                yield "boto3"


def _kinds(kind: Any) -> Iterator[Any]:
    for one in kind.__subclasses__():
        yield one
        yield from _kinds(one)
