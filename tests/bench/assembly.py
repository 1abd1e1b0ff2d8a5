"""What assembly and delivery cost: `python -m tests.bench.assembly`.

Journal → assembly → outbox → delivery to a service on loopback, in CPU seconds of this process; the service is another
process and takes everything. Spans are facts in the journal already: to receive and to recognise them is measured
elsewhere. `--ledger N` puts N events into the ledger first, `--pending N` opens N traces that are never decided,
`--tenants N` names as many.
"""

import argparse
import cProfile
import json
import random
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from spanmeter.clock import SystemClock
from spanmeter.heap import collect_rarely
from spanmeter.ledger.report import usage_rows
from spanmeter.settings import Settings, load
from spanmeter.store.database import Database
from spanmeter.store.journal import JournalEntry, SqliteJournal
from spanmeter.testing.clock import ManualClock
from spanmeter.usage.call import LlmCall, Role, SpanFacts, Usage
from spanmeter.wiring import make_assembler, make_courier
from tests.bench.books import fill_ledger
from tests.bench.taking import taking_service

SPANS_A_REQUEST = 512
SCOPE = "opentelemetry.instrumentation.openai_v2"


def call_facts(random_: random.Random, *, now_ns: int, tenants: int, shape: str) -> Iterator[SpanFacts]:
    """Traces without end: `single`, one LLM span that names its tenant; `agent`, a root that names it and an agent's
    span (a sum) with four calls below it."""
    number = 0
    while True:
        number += 1
        trace_id, tenant = random_.randbytes(16), f"tenant-{random_.randrange(tenants)}"
        root = random_.randbytes(8)
        if shape == "single":
            yield _call(random_, trace_id, root, b"", tenant, now_ns + number * 1000)
            continue
        yield _span(trace_id, root, b"", tenant, now_ns, None)
        agent = random_.randbytes(8)
        calls = [_call(random_, trace_id, random_.randbytes(8), agent, "", now_ns + number * 1000) for _ in range(4)]
        yield _span(
            trace_id,
            agent,
            root,
            "",
            now_ns,
            LlmCall(role=Role.AGGREGATE, dialect="otel_genai", operation="invoke_agent"),
        )
        yield from calls


def _span(
    trace_id: bytes, span_id: bytes, parent: bytes, tenant: str, start_ns: int, call: LlmCall | None
) -> SpanFacts:
    return SpanFacts(
        trace_id=trace_id,
        span_id=span_id,
        parent_span_id=parent,
        start_ns=start_ns,
        end_ns=start_ns + 700_000_000,
        scope=SCOPE,
        service="agent/1",
        tenant=tenant,
        tenant_key="tenant.id" if tenant else "",
        call=call,
    )


def _call(
    random_: random.Random, trace_id: bytes, span_id: bytes, parent: bytes, tenant: str, start_ns: int
) -> SpanFacts:
    call = LlmCall(
        role=Role.CALL,
        dialect="otel_genai",
        operation="chat",
        provider="openai",
        request_model="gpt-4o-mini",
        response_model="gpt-4o-mini-2024-07-18",
        response_id=f"chatcmpl-{random_.randbytes(15).hex()}",
        usage=Usage(input=random_.randrange(1, 5000), output=random_.randrange(1, 2000)),
    )
    return _span(trace_id, span_id, parent, tenant, start_ns, call)


def open_calls(random_: random.Random, *, now_ns: int) -> Iterator[SpanFacts]:
    """Calls without end, each in a trace of its own whose root never comes."""
    while True:
        yield _call(random_, random_.randbytes(16), random_.randbytes(8), random_.randbytes(8), "", now_ns)


def fill_journal(journal: SqliteJournal, spans: Iterator[SpanFacts], calls: int, *, now_ns: int) -> int:
    """Journal requests until they hold so many calls; how many they hold."""
    held = 0
    while held < calls:
        facts = [next(spans) for _ in range(min(SPANS_A_REQUEST, calls))]
        held += sum(one.call is not None and one.call.role is Role.CALL for one in facts)
        journal.append([JournalEntry(received_ns=now_ns, facts=facts, spans=len(facts))])
    return held


def measure(
    settings: Settings, *, calls: int, shape: str, tenants: int, ledger: int, pending: int
) -> dict[str, object]:
    """CPU seconds of assembly and of delivery for so many calls; the outbox is empty at the end."""
    clock = ManualClock()
    now_ns = clock.now_ns()
    database = Database.open(settings.data_dir)
    [(there,)] = database.execute("event_max")
    random_ = random.Random(there)  # other ids than those that are in the ledger
    if ledger:
        fill_ledger(database, ledger, now_ns=now_ns, tenants=tenants)
    journal = SqliteJournal(database)
    spans = call_facts(random_, now_ns=now_ns, tenants=tenants, shape=shape)
    if pending:
        fill_journal(journal, open_calls(random_, now_ns=now_ns), pending, now_ns=now_ns + 55 * 10**9)
    before = sum(row.events for row in usage_rows(database))
    assembler = make_assembler(settings, database, clock)
    collect_rarely()  # as `serve` does
    cpu_s = time.process_time()
    if pending:
        while assembler.step():
            pass
        clock.advance(10)  # each is looked at when it has been quiet for a while, and then not before its last chance
        while assembler.step():
            pass
    open_s = time.process_time() - cpu_s
    held = fill_journal(journal, spans, calls, now_ns=now_ns)
    clock.advance(30)
    cpu_s, wall_s = time.process_time(), time.monotonic()
    while assembler.step():
        pass
    assembly_s = time.process_time() - cpu_s
    assembly_wall_s = time.monotonic() - wall_s
    client, courier = make_courier(settings, database, SystemClock())
    cpu_s = time.process_time()
    left = courier.drain(600.0)
    delivery_s = time.process_time() - cpu_s
    client.close()
    made = sum(row.events for row in usage_rows(database))
    database.close()
    return {
        "calls": held,
        "events": made - before,
        "left": left,
        "open_us_a_trace": round(open_s / pending * 1e6, 1) if pending else None,
        "assembly_us_a_call": round(assembly_s / held * 1e6, 1),
        "assembly_wall_us_a_call": round(assembly_wall_s / held * 1e6, 1),
        "delivery_us_a_call": round(delivery_s / held * 1e6, 1),
        "calls_a_cpu_second": round(held / (assembly_s + delivery_s)),
        "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10,
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.assembly", description=__doc__)
    parser.add_argument("--calls", type=int, default=100_000)
    parser.add_argument("--shape", choices=("single", "agent"), default="single")
    parser.add_argument("--tenants", type=int, default=1_000)
    parser.add_argument("--ledger", type=int, default=0, help="events in the ledger before")
    parser.add_argument("--pending", type=int, default=0, help="open traces meanwhile")
    parser.add_argument("--batch-events", type=int, default=1_000, help="SPANMETER_BATCH_EVENTS")
    parser.add_argument("--profile", default="", metavar="FILE", help="write a cProfile there")
    parser.add_argument("--data-dir", default="", metavar="FOLDER", help="go on there, instead of in a new folder")
    chosen = parser.parse_args()
    with taking_service() as url, tempfile.TemporaryDirectory() as folder:
        settings = load(
            {
                "SPANMETER_DATA_DIR": chosen.data_dir or str(Path(folder) / "data"),
                "SPANMETER_ENDPOINT": url,
                "SPANMETER_BATCH_EVENTS": str(chosen.batch_events),
            }
        )
        profile = cProfile.Profile()
        if chosen.profile:
            profile.enable()
        result = measure(
            settings,
            calls=chosen.calls,
            shape=chosen.shape,
            tenants=chosen.tenants,
            ledger=chosen.ledger,
            pending=chosen.pending,
        )
        if chosen.profile:
            profile.disable()
            profile.dump_stats(chosen.profile)
    sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
