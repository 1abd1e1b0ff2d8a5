-- Keys come at random. Written into an index of all, each would write a page of its own; so they go into one of what is
-- new, small enough to be at hand, and are filed from there into the old one, many neighbours at once
-- (`spanmeter.store.filing`). A million calls and as many memories take some two CPU seconds and 200 MB of write-ahead log.

-- By its key, a call. That a key is in one of the two at most is what makes a call billed once: each has it once, and the
-- only statement that writes into the young one leaves out what the old one has. Filing would fail for such a key.
CREATE TABLE call_old (
    key BLOB PRIMARY KEY CHECK (length(key) = 20),
    call INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO call_old (key, call) SELECT key, seq FROM call ORDER BY key;
DROP INDEX call_key;
CREATE TABLE call_young (
    key BLOB PRIMARY KEY CHECK (length(key) = 20),
    call INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TRIGGER call_forget AFTER DELETE ON call BEGIN
    DELETE FROM call_young WHERE key = old.key;
    DELETE FROM call_old WHERE key = old.key;
END;

-- By its id, the memory of a trace. An id is in one of the two at most.
CREATE TABLE trace_old (
    trace_id BLOB PRIMARY KEY CHECK (length(trace_id) = 16),
    trace INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO trace_old (trace_id, trace) SELECT trace_id, seq FROM trace ORDER BY trace_id;
CREATE TABLE memory (
    seq INTEGER PRIMARY KEY,
    trace_id BLOB NOT NULL CHECK (length(trace_id) = 16),
    version INTEGER NOT NULL,
    memory BLOB NOT NULL
) STRICT;
INSERT INTO memory (seq, trace_id, version, memory) SELECT seq, trace_id, version, memory FROM trace ORDER BY seq;
DROP TABLE trace;
ALTER TABLE memory RENAME TO trace;
CREATE TABLE trace_young (
    trace_id BLOB PRIMARY KEY CHECK (length(trace_id) = 16),
    trace INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TRIGGER trace_forget AFTER DELETE ON trace BEGIN
    DELETE FROM trace_young WHERE trace_id = old.trace_id;
    DELETE FROM trace_old WHERE trace_id = old.trace_id;
END;

DROP VIEW event_of_call;
CREATE VIEW event_of_call (call, seq, id, source, subject, time_ns, token_class, tokens, model, scope) AS
    SELECT call.seq, part.seq, identity || suffix, source, subject, time_ns, token_class, tokens, model, scope
    FROM call CROSS JOIN part ON part.seq BETWEEN call.seq AND call.seq + 4 AND +part.call = call.seq
        CROSS JOIN about ON number = about;
