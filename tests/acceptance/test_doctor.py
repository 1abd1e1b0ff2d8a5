"""`spanmeter doctor` beside a running collector, and with an instrumentation that does not start."""

import json
from pathlib import Path
from typing import Any

from spanmeter.testing.metering_service import MeteringService
from tests.acceptance.collector import run_spanmeter, running_collector, running_service

ENTRY_POINTS = "[opentelemetry_instrumentor]\nbroken-llm = broken_llm:Instrumentor\n"


def checks(text: str) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for check in json.loads(text)["checks"]:
        found.setdefault(check["check"], []).append(check)
    return found


def test_all_is_well(tmp_path: Path) -> None:
    with running_service() as service, running_collector(tmp_path / "data", service=service) as collector:
        endpoint = {"SPANMETER_ENDPOINT": service.url}
        run = run_spanmeter("doctor", "--json", data_dir=tmp_path / "data", settings=endpoint)
        assert run.returncode == 0, run.stdout + run.stderr
        assert json.loads(run.stdout)["ok"] is True
        found = checks(run.stdout)
        assert f"process {collector.child.process.pid}" in found["processes"][0]["said"]
        assert any("openai-v2" in check["said"] for check in found["instrumentations"])
        assert service.events == []


def test_what_is_wrong_is_said_with_what_to_do(tmp_path: Path) -> None:
    packages = tmp_path / "packages"
    (packages / "broken_llm-1.0.dist-info").mkdir(parents=True)
    (packages / "broken_llm-1.0.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: broken-llm\nVersion: 1\n"
    )
    (packages / "broken_llm-1.0.dist-info" / "entry_points.txt").write_text(ENTRY_POINTS)
    (packages / "broken_llm.py").write_text("import no_such_module_at_all\n")
    with MeteringService(token="spat_right", meters=()) as service:
        settings = {
            "SPANMETER_ENDPOINT": service.url,
            "KONNECT_TOKEN": "spat_wrong",
            "OTEL_TRACES_SAMPLER": "always_off",
            "PYTHONPATH": str(packages),
        }
        run = run_spanmeter("doctor", data_dir=tmp_path / "data", settings=settings)
        assert run.returncode == 1
        assert "wrong   token: HTTP 401" in run.stdout
        assert "→ the token is wrong, expired or of another region" in run.stdout
        assert "sampler: OTEL_TRACES_SAMPLER is always_off" in run.stdout
        assert "broken-llm (broken-llm) is dead" in run.stdout
        assert "→ install what it misses: pip install no_such_module_at_all" in run.stdout
        assert "spat_wrong" not in run.stdout + run.stderr
        right = run_spanmeter(
            "doctor", "--json", data_dir=tmp_path / "data", settings={**settings, "KONNECT_TOKEN": "spat_right"}
        )
        assert [check["verdict"] for check in checks(right.stdout)["meters"]] == ["wrong"]
    assert run_spanmeter("doctor", data_dir=tmp_path / "data", settings={"KONNECT_REGION": "mars"}).returncode == 1
