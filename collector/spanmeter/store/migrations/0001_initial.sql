-- What was received and is not yet decided. One row a request: a row a span would cost three times as much.
CREATE TABLE journal (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    received_ns INTEGER NOT NULL,
    facts BLOB NOT NULL,                 -- msgpack list of SpanFacts
    links BLOB NOT NULL,                 -- 32 bytes for every span without facts: trace, span, parent
    CHECK (length(links) % 32 = 0)
) STRICT;

-- Traces that were decided, for spans that come late or twice.
CREATE TABLE trace (
    trace_id BLOB PRIMARY KEY CHECK (length(trace_id) = 16),
    decided_ns INTEGER NOT NULL,
    version INTEGER NOT NULL,
    memory BLOB NOT NULL                 -- msgpack TraceMemory
) STRICT, WITHOUT ROWID;
CREATE INDEX trace_decided ON trace (decided_ns);

-- Every usage event ever made; rows are never changed. UNIQUE is what makes a call billed once.
CREATE TABLE event (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL,
    source TEXT NOT NULL,
    subject TEXT NOT NULL CHECK (subject <> ''),
    time_ns INTEGER NOT NULL,
    token_class TEXT NOT NULL,
    tokens INTEGER NOT NULL,
    model TEXT NOT NULL,
    provider TEXT NOT NULL,
    scope TEXT NOT NULL,                 -- the instrumentation that reported the call
    made_ns INTEGER NOT NULL,
    body BLOB NOT NULL,                  -- the bytes that are sent
    UNIQUE (id, source)
) STRICT;
CREATE INDEX event_time ON event (time_ns);

-- Events that the service has not taken yet, in the order in which they were made.
CREATE TABLE outbox (
    seq INTEGER PRIMARY KEY REFERENCES event (seq)
) STRICT;

-- Events that the service took, and when; until they are settled.
CREATE TABLE sent (
    seq INTEGER PRIMARY KEY REFERENCES event (seq),
    sent_ns INTEGER NOT NULL
) STRICT;

-- Events that the service refused, with its words.
CREATE TABLE dead_letter (
    seq INTEGER PRIMARY KEY REFERENCES event (seq),
    buried_ns INTEGER NOT NULL,
    status INTEGER NOT NULL,
    reason TEXT NOT NULL
) STRICT;

-- Events made while there was no service to send them to.
CREATE TABLE local_only (
    seq INTEGER PRIMARY KEY REFERENCES event (seq)
) STRICT;

-- LLM spans that are work for a person: parked, unmetered, invalid.
CREATE TABLE held (
    trace_id BLOB NOT NULL,
    span_id BLOB NOT NULL,
    outcome TEXT NOT NULL,
    reason TEXT NOT NULL,
    identity TEXT NOT NULL,              -- of the call; empty where the span records none that could be billed
    held_ns INTEGER NOT NULL,
    detail BLOB NOT NULL,                -- msgpack Decision
    PRIMARY KEY (trace_id, span_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX held_identity ON held (identity);

-- Spans and tokens by outcome since the file was made. Conservation: received = sum of outcomes + not yet decided.
CREATE TABLE outcome (
    outcome TEXT NOT NULL,
    reason TEXT NOT NULL,
    spans INTEGER NOT NULL,
    input_tokens INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    PRIMARY KEY (outcome, reason)
) STRICT, WITHOUT ROWID;

-- Single values by name: what was received, how the last delivery ended.
CREATE TABLE fact (
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE received (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    requests INTEGER NOT NULL,
    spans INTEGER NOT NULL,
    llm_spans INTEGER NOT NULL,
    input_tokens INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    rejected INTEGER NOT NULL
) STRICT;
INSERT INTO received VALUES (1, 0, 0, 0, 0, 0, 0);
