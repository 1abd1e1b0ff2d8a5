-- The events of a call share a row, and have one short key instead of a long text each; memories of one round of decisions
-- share what is alike in them. Events and memories are rewritten in one transaction: a million events take some 12 CPU
-- seconds, 160 MB of write-ahead log and 90 MB more of the file, of which the old form's pages are free afterwards. A
-- process of an earlier version goes on journalling meanwhile and afterwards, and decides no more.

-- What very many calls have in common; rows are never changed.
CREATE TABLE about (
    number INTEGER PRIMARY KEY,
    source TEXT NOT NULL,
    model TEXT NOT NULL,
    provider TEXT NOT NULL,
    scope TEXT NOT NULL,                    -- the instrumentation that reported the call
    UNIQUE (source, model, provider, scope)
) STRICT;

-- What the events of one call have in common. That its key is unique is what makes a call billed once: a hash of the
-- identity (16 bytes) and of the source (4 bytes), see `spanmeter.store.events`.
CREATE TABLE call (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,  -- its events have this or one of the next four
    key BLOB NOT NULL CHECK (length(key) = 20),
    identity TEXT NOT NULL,
    about INTEGER NOT NULL REFERENCES about (number),
    subject TEXT NOT NULL CHECK (subject <> ''),
    time_ns INTEGER NOT NULL,
    made_ns INTEGER NOT NULL
) STRICT;

-- Every usage event ever made; rows are never changed, but for bodies that are let go of.
CREATE TABLE new_part (
    seq INTEGER PRIMARY KEY,                -- the call's, and 0 to 4 by token class: of each class one
    call INTEGER NOT NULL REFERENCES call (seq) CHECK (call BETWEEN seq - 4 AND seq),
    token_class TEXT NOT NULL,
    suffix TEXT NOT NULL,                   -- the id is the call's identity with this
    tokens INTEGER NOT NULL,
    body BLOB NOT NULL                      -- the bytes that are sent
) STRICT;

-- Tables that refer to `event` refer to `part` from now on.
ALTER TABLE event RENAME TO part;

-- Events of a call were made together, with nothing between them. Where one has more, because the setting of the classes
-- was changed before the release that first looked for that, those stand alone, as a correction does.
INSERT INTO new_part (seq, call, token_class, suffix, tokens, body)
    SELECT seq, coalesce((SELECT min(near.seq) FROM part AS near WHERE near.seq BETWEEN one.seq - 4 AND one.seq
            AND near.source = one.source AND near.id IN (stem || '-input', stem || '-cache_read', stem || '-cache_write',
                stem || '-output', stem || '-reasoning')), seq),
        token_class, coalesce(substr(id, length(stem) + 1), ''), tokens, body
    FROM (SELECT *, call_identity(id) AS stem FROM part) AS one ORDER BY seq;
INSERT INTO about (source, model, provider, scope) SELECT DISTINCT source, model, provider, scope FROM part;
INSERT INTO call (seq, key, identity, about, subject, time_ns, made_ns)
    SELECT seq, key_of_call(source, call_identity(id)), call_identity(id), number, subject, time_ns, made_ns
    FROM new_part JOIN part USING (seq) JOIN about USING (source, model, provider, scope)
    WHERE new_part.seq = call AND call_identity(id) IS NOT NULL;
DELETE FROM call WHERE seq IN
    (SELECT seq FROM (SELECT seq, row_number() OVER (PARTITION BY key ORDER BY seq) AS nth FROM call) WHERE nth > 1);
UPDATE new_part SET call = seq, suffix = '' WHERE call NOT IN (SELECT seq FROM call);
INSERT INTO call (seq, key, identity, about, subject, time_ns, made_ns)
    SELECT seq, key_alone(source, id), id, number, subject, time_ns, made_ns
    FROM new_part JOIN part USING (seq) JOIN about USING (source, model, provider, scope) WHERE suffix = '';

DROP TABLE part;
ALTER TABLE new_part RENAME TO part;
CREATE UNIQUE INDEX call_key ON call (key);
CREATE INDEX call_time ON call (time_ns);

-- Events as they are asked for: by number, or by call. CROSS JOIN is how SQLite is told which table comes first.
CREATE VIEW event (seq, id, source, subject, time_ns, token_class, tokens, model, provider, scope, made_ns, body) AS
    SELECT part.seq, identity || suffix, source, subject, time_ns, token_class, tokens, model, provider, scope, made_ns, body
    FROM part CROSS JOIN call ON call.seq = part.call CROSS JOIN about ON number = about;
CREATE VIEW event_of_call (key, seq, id, source, subject, time_ns, token_class, tokens, model, scope) AS
    SELECT key, part.seq, identity || suffix, source, subject, time_ns, token_class, tokens, model, scope
    FROM call CROSS JOIN part ON part.seq BETWEEN call.seq AND call.seq + 4 AND +part.call = call.seq
        CROSS JOIN about ON number = about;

-- Only retention deletes events. A call goes with the last of them.
CREATE TRIGGER usage_day_forget AFTER DELETE ON part BEGIN
    UPDATE usage_day SET events = events - 1, tokens = tokens - old.tokens WHERE (day, subject, model, token_class) =
        (SELECT time_ns / 86400000000000, subject, model, old.token_class FROM call JOIN about ON number = about
            WHERE seq = old.call);
    DELETE FROM usage_day WHERE events = 0 AND (day, subject, model, token_class) =
        (SELECT time_ns / 86400000000000, subject, model, old.token_class FROM call JOIN about ON number = about
            WHERE seq = old.call);
    DELETE FROM call WHERE seq = old.call
        AND NOT EXISTS (SELECT 1 FROM part WHERE part.seq BETWEEN old.call AND old.call + 4 AND +part.call = old.call);
END;

-- A round of decisions: when, and what is alike in the memories that it made. They lie in `trace` from the round's number
-- on, up to that of the next.
CREATE TABLE round (
    seq INTEGER PRIMARY KEY,
    decided_ns INTEGER NOT NULL,
    alike BLOB NOT NULL                  -- see `spanmeter.store.memory`
) STRICT;
CREATE TABLE memory (
    seq INTEGER PRIMARY KEY,
    trace_id BLOB NOT NULL UNIQUE CHECK (length(trace_id) = 16),
    version INTEGER NOT NULL,
    memory BLOB NOT NULL
) STRICT;
CREATE TEMP TABLE aged AS
    SELECT row_number() OVER (ORDER BY decided_ns, seq) AS place, seq, decided_ns FROM trace;
INSERT INTO memory (seq, trace_id, version, memory)
    SELECT place, trace_id, version, memory FROM aged JOIN trace USING (seq) ORDER BY place;
INSERT INTO round (seq, decided_ns, alike) SELECT min(place), decided_ns, x'' FROM aged GROUP BY decided_ns;
DROP TABLE temp.aged;
DROP TABLE trace;
ALTER TABLE memory RENAME TO trace;
CREATE INDEX round_decided ON round (decided_ns);
