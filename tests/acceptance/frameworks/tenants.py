"""A server's part of these programs: requests of three tenants at once, each under a span that names its tenant."""

import asyncio
import threading

from opentelemetry import trace

TENANTS = ("acme", "globex", "initech")
HEADER = "x-demo-tenant"
"""What the provider writes its own record by."""


def serve(handle):
    """`handle(tenant)` in a thread for each tenant, all at once. An error ends the program."""
    failed = []

    def request(tenant):
        try:
            with trace.get_tracer("server").start_as_current_span("POST /ask", attributes={"tenant.id": tenant}):
                handle(tenant)
        except BaseException as error:
            failed.append(error)
            raise

    threads = [threading.Thread(target=request, args=(tenant,)) for tenant in TENANTS]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise SystemExit(f"{failed[0]!r}")


def serve_async(handle):
    """The same on one event loop."""

    async def request(tenant):
        with trace.get_tracer("server").start_as_current_span("POST /ask") as span:
            span.set_attribute("tenant.id", tenant)
            await handle(tenant)

    async def all_at_once():
        await asyncio.gather(*(request(tenant) for tenant in TENANTS))

    asyncio.run(all_at_once())
