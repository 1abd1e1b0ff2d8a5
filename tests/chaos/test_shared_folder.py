"""One data folder, many processes: a collector, plug-ins that also export to it, and `spanmeter deliver`."""

import json
import subprocess
import sys
import threading
from pathlib import Path

from tests.acceptance.child import STOP_TIMEOUT_S
from tests.acceptance.collector import (
    outcomes_of,
    running_collector,
    running_service,
    serve_settings,
    settled,
)
from tests.crash.audit import audit
from tests.crash.clients import HttpWay, attributes_of, call_body
from tests.crash.records import Records
from tests.crash.trial import SETTINGS

PLUGINS = 3
CALLS = 60
"""Of each plug-in, and of the client without one."""

AGENT = """
import json, sys, time
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
import spanmeter_instrumentation

spanmeter_instrumentation.start()
trace.set_tracer_provider(TracerProvider())
trace.get_tracer_provider().add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=sys.argv[1])))
for attributes in json.loads(sys.stdin.read()):
    trace.get_tracer("agent").start_span("chat", attributes=attributes).end()
    time.sleep(0.01)
"""


def test_each_call_is_billed_once_whoever_saw_it(tmp_path: Path) -> None:
    """Each of the plug-ins' calls comes twice: journalled by the plug-in, and by OTLP. In the middle the collector is
    killed, and another process takes over its work."""
    data_dir, records = tmp_path / "data", Records(7)
    with running_service() as service:
        environment = {**serve_settings(data_dir, service=service), **SETTINGS}
        deliver = subprocess.Popen([sys.executable, "-m", "spanmeter", "deliver"], env=environment)
        try:
            with running_collector(data_dir, service=service, settings=environment) as collector:
                url = f"{collector.http_url}/v1/traces"
                agents = [threading.Thread(target=_run_agent, args=(records, environment, url)) for _ in range(PLUGINS)]
                for agent in agents:
                    agent.start()
                way = HttpWay(collector.http_port)
                for _ in range(CALLS):
                    call = records.new_call()
                    assert way.send(call_body(call))
                    records.acknowledge([call.name])
                way.close()
                for agent in agents:
                    agent.join()
                collector.child.kill()
            total = (PLUGINS + 1) * CALLS
            assert len(records.acknowledged) == total
            status = settled(data_dir, llm_spans=total)
        finally:
            deliver.terminate()
            deliver.wait(STOP_TIMEOUT_S)
        found = audit(records, service, data_dir)
    assert found.problems == []
    assert (found.acknowledged, found.lost, found.doubled) == (found.billed, 0, 0)
    assert outcomes_of(status)["billed"] == total
    assert outcomes_of(status)["duplicate"] > 0


def _run_agent(records: Records, environment: dict[str, str], url: str) -> None:
    """An agent whose calls are acknowledged when it has ended well."""
    calls = [records.new_call() for _ in range(CALLS)]
    run = subprocess.run(
        [sys.executable, "-c", AGENT, url],
        input=json.dumps([attributes_of(call, with_id=True) for call in calls]),
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert run.returncode == 0, run.stderr
    records.acknowledge([call.name for call in calls])
