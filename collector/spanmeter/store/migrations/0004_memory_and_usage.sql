-- Memories lie in the order in which they were made: a table keyed by random trace ids would write a page for each.
CREATE TABLE memory (
    seq INTEGER PRIMARY KEY,
    trace_id BLOB NOT NULL UNIQUE CHECK (length(trace_id) = 16),
    decided_ns INTEGER NOT NULL,
    version INTEGER NOT NULL,
    memory BLOB NOT NULL                 -- msgpack TraceMemory
) STRICT;
INSERT INTO memory (trace_id, decided_ns, version, memory)
    SELECT trace_id, decided_ns, version, memory FROM trace ORDER BY decided_ns;
DROP TABLE trace;
ALTER TABLE memory RENAME TO trace;
CREATE INDEX trace_decided ON trace (decided_ns);

-- Sums over events by UTC day of their time, kept with them in one transaction: what `usage` reads instead of millions
-- of events. It can be made anew from `event` at any time, by the statement below.
CREATE TABLE usage_day (
    day INTEGER NOT NULL,                -- days since 1970
    subject TEXT NOT NULL,
    model TEXT NOT NULL,
    token_class TEXT NOT NULL,
    events INTEGER NOT NULL,
    tokens INTEGER NOT NULL,
    PRIMARY KEY (day, subject, model, token_class)
) STRICT, WITHOUT ROWID;
INSERT INTO usage_day (day, subject, model, token_class, events, tokens)
    SELECT time_ns / 86400000000000, subject, model, token_class, count(*), sum(tokens) FROM event GROUP BY 1, 2, 3, 4;

-- Only retention deletes events.
CREATE TRIGGER usage_day_forget AFTER DELETE ON event BEGIN
    UPDATE usage_day SET events = events - 1, tokens = tokens - old.tokens
        WHERE day = old.time_ns / 86400000000000 AND subject = old.subject AND model = old.model
            AND token_class = old.token_class;
    DELETE FROM usage_day WHERE events = 0 AND day = old.time_ns / 86400000000000 AND subject = old.subject
        AND model = old.model AND token_class = old.token_class;
END;
