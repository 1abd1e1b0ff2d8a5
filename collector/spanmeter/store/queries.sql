-- name: journal_append
INSERT INTO journal (received_ns, facts, links) VALUES (?, ?, ?);

-- name: received_add
UPDATE received SET requests = requests + ?, spans = spans + ?, llm_spans = llm_spans + ?,
    input_tokens = input_tokens + ?, output_tokens = output_tokens + ?, rejected = rejected + ?;

-- name: received_read
SELECT requests, spans, llm_spans, input_tokens, output_tokens, rejected FROM received;

-- name: journal_read
SELECT seq, received_ns, facts, links FROM journal WHERE seq > ? ORDER BY seq LIMIT ?;

-- name: journal_delete
DELETE FROM journal WHERE seq = ?;

-- name: journal_depth
SELECT count(*), coalesce(min(received_ns), 0) FROM journal;

-- name: memory_read
SELECT trace_id, memory FROM trace WHERE trace_id = ?;

-- name: memory_since
SELECT memory FROM trace WHERE decided_ns >= ?;

-- name: memory_write
INSERT INTO trace (trace_id, decided_ns, version, memory) VALUES (?, ?, ?, ?)
ON CONFLICT (trace_id) DO UPDATE
    SET decided_ns = excluded.decided_ns, version = excluded.version, memory = excluded.memory
    WHERE trace.version = excluded.version - 1;

-- name: memory_forget
DELETE FROM trace WHERE trace_id IN (SELECT trace_id FROM trace WHERE decided_ns < ? ORDER BY decided_ns LIMIT ?);

-- name: event_insert
INSERT INTO event (id, source, subject, time_ns, token_class, tokens, model, provider, scope, made_ns, body)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id, source) DO NOTHING;

-- name: event_tokens
SELECT id, tokens, scope FROM event WHERE source = ? AND id IN (SELECT value FROM json_each(?));

-- name: event_max
SELECT coalesce(max(seq), 0) FROM event;

-- name: event_read
SELECT seq, body FROM event WHERE seq > ? ORDER BY seq LIMIT ?;

-- name: outbox_fill
INSERT INTO outbox (seq) SELECT seq FROM event WHERE seq > ?;

-- name: local_fill
INSERT INTO local_only (seq) SELECT seq FROM event WHERE seq > ?;

-- name: outbox_lease
SELECT outbox.seq, event.body FROM outbox JOIN event USING (seq) WHERE outbox.seq > ? ORDER BY outbox.seq LIMIT ?;

-- name: outbox_delete
DELETE FROM outbox WHERE seq = ?;

-- name: sent_insert
INSERT INTO sent (seq, sent_ns) SELECT seq, ? FROM outbox WHERE seq = ?;

-- name: outbox_depth
SELECT count(*) FROM outbox;

-- name: outbox_oldest
SELECT event.made_ns FROM event WHERE seq = (SELECT min(seq) FROM outbox);

-- name: dead_letter_insert
INSERT INTO dead_letter (seq, buried_ns, status, reason) SELECT seq, ?, ?, ? FROM outbox WHERE seq = ?;

-- name: dead_letter_depth
SELECT count(*) FROM dead_letter;

-- name: sent_read
SELECT seq, sent_ns FROM sent ORDER BY seq;

-- name: dead_letter_read
SELECT seq, buried_ns, status, reason FROM dead_letter ORDER BY seq;

-- name: local_depth
SELECT count(*) FROM local_only;

-- name: held_write
INSERT INTO held (trace_id, span_id, outcome, reason, identity, held_ns, detail) VALUES (?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (trace_id, span_id) DO UPDATE SET outcome = excluded.outcome, reason = excluded.reason,
    identity = excluded.identity, detail = excluded.detail;

-- name: held_with_identity
SELECT detail FROM held WHERE outcome IN ('parked', 'estimated') AND identity IN (SELECT value FROM json_each(?));

-- name: held_read
SELECT held_ns, detail FROM held WHERE outcome IN (SELECT value FROM json_each(?)) ORDER BY held_ns, trace_id, span_id;

-- name: held_delete
DELETE FROM held WHERE trace_id = ? AND span_id = ?;

-- name: outcome_add
INSERT INTO outcome (outcome, reason, spans, input_tokens, output_tokens) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (outcome, reason) DO UPDATE SET spans = spans + excluded.spans,
    input_tokens = input_tokens + excluded.input_tokens, output_tokens = output_tokens + excluded.output_tokens;

-- name: outcome_read
SELECT outcome, reason, spans, input_tokens, output_tokens FROM outcome WHERE spans > 0 ORDER BY outcome, reason;

-- name: fact_write
INSERT INTO fact (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value;

-- name: fact_read
SELECT name, value FROM fact;

-- name: usage_by
SELECT subject, model, token_class, strftime(:format, time_ns / 1000000000, 'unixepoch') AS period,
    count(*), sum(tokens)
FROM event
WHERE time_ns >= :from_ns AND time_ns < :to_ns AND (:subject = '' OR subject = :subject)
GROUP BY subject, model, token_class, period
ORDER BY subject, period, model, token_class;

-- name: event_after
SELECT seq, made_ns FROM event WHERE seq > ? ORDER BY seq LIMIT ?;

-- name: event_unneeded_after
SELECT seq, made_ns FROM event
WHERE seq > ? AND seq NOT IN (SELECT seq FROM outbox) AND seq NOT IN (SELECT seq FROM dead_letter)
    AND seq NOT IN (SELECT seq FROM local_only)
ORDER BY seq LIMIT ?;

-- name: event_prune_body
UPDATE event SET body = x'' WHERE seq = ? AND seq NOT IN (SELECT seq FROM outbox)
    AND seq NOT IN (SELECT seq FROM dead_letter) AND seq NOT IN (SELECT seq FROM local_only);

-- name: sent_prune
DELETE FROM sent WHERE seq = ?;

-- name: event_prune
DELETE FROM event WHERE seq = ?;

-- name: held_prune
DELETE FROM held WHERE outcome IN ('unmetered', 'invalid') AND held_ns < ?;
