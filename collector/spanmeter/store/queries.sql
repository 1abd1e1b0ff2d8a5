-- name: journal_append
INSERT INTO journal (received_ns, facts, links) VALUES (?, ?, ?);

-- name: received_add
UPDATE received SET requests = requests + ?, spans = spans + ?, llm_spans = llm_spans + ?,
    input_tokens = input_tokens + ?, output_tokens = output_tokens + ?, rejected = rejected + ?;

-- name: received_read
SELECT requests, spans, llm_spans, input_tokens, output_tokens, rejected FROM received;

-- name: journal_read
SELECT seq, received_ns, facts, links FROM journal WHERE seq > ? ORDER BY seq LIMIT ?;

-- name: journal_read_of
SELECT seq, received_ns, facts, links FROM journal WHERE seq IN (SELECT value FROM json_each(?)) ORDER BY seq;

-- name: journal_delete
DELETE FROM journal WHERE seq = ?;

-- name: journal_last
SELECT coalesce(max(seq), 0) FROM journal;

-- name: journal_depth
SELECT count(*), coalesce(min(received_ns), 0) FROM journal;

-- name: memory_read
WITH RECURSIVE asked (at) AS (
    SELECT 1 WHERE length(:ids) > 0 UNION ALL SELECT at + 16 FROM asked WHERE at + 16 < length(:ids)
)
SELECT trace_id, version, memory, (SELECT alike FROM round WHERE round.seq <= trace.seq ORDER BY round.seq DESC LIMIT 1)
FROM asked CROSS JOIN trace ON trace.seq = coalesce((SELECT trace FROM trace_young WHERE trace_id = substr(:ids, at, 16)),
    (SELECT trace FROM trace_old WHERE trace_id = substr(:ids, at, 16)));

-- name: memory_since
SELECT trace_id, version, memory, alike FROM round JOIN trace ON trace.seq >= round.seq
    AND trace.seq < coalesce((SELECT min(next.seq) FROM round AS next WHERE next.seq > round.seq), 9223372036854775807)
WHERE decided_ns >= ?;

-- name: memory_next
SELECT 1 + max(coalesce((SELECT max(seq) FROM trace), 0), coalesce((SELECT max(seq) FROM round), 0));

-- name: round_write
INSERT INTO round (seq, decided_ns, alike) VALUES (?, ?, ?);

-- name: memory_outdated
DELETE FROM trace WHERE version = :version AND seq = coalesce(
    (SELECT trace FROM trace_young WHERE trace_id = :trace_id), (SELECT trace FROM trace_old WHERE trace_id = :trace_id));

-- name: memory_write
INSERT INTO trace (seq, trace_id, version, memory) VALUES (?, ?, ?, ?);

-- name: trace_ids_write
INSERT INTO trace_young (trace_id, trace) SELECT trace_id, seq FROM trace
WHERE seq >= ? AND NOT EXISTS (SELECT 1 FROM trace_old WHERE trace_old.trace_id = trace.trace_id)
ON CONFLICT DO NOTHING;

-- name: trace_into_old
INSERT INTO trace_old (trace_id, trace) SELECT trace_id, trace FROM trace_young WHERE trace_id BETWEEN ? AND ?
ORDER BY trace_id;

-- name: trace_out_of_young
DELETE FROM trace_young WHERE trace_id BETWEEN ? AND ?;

-- name: rounds_kept
-- From which on; those before it are too old. A round after them may be older, if the clock was set back.
SELECT coalesce((SELECT seq FROM round WHERE +decided_ns >= ? ORDER BY seq LIMIT 1), 9223372036854775807);

-- name: memory_forget
DELETE FROM trace WHERE seq IN (SELECT seq FROM trace WHERE seq < ? ORDER BY seq LIMIT ?);

-- name: round_forget
DELETE FROM round WHERE seq < min(?, coalesce((SELECT min(seq) FROM trace), 9223372036854775807));

-- name: call_next
-- Five further than the last there ever was.
SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'call'), -4) + 5;

-- name: call_insert
INSERT INTO call (seq, key, identity, about, subject, time_ns, made_ns) VALUES (?, ?, ?, ?, ?, ?, ?);

-- name: call_keys_write
INSERT INTO call_young (key, call) SELECT key, seq FROM call
WHERE seq >= ? AND NOT EXISTS (SELECT 1 FROM call_old WHERE call_old.key = call.key)
ORDER BY key ON CONFLICT DO NOTHING;

-- name: call_into_old
INSERT INTO call_old (key, call) SELECT key, call FROM call_young WHERE key BETWEEN ? AND ? ORDER BY key;

-- name: call_out_of_young
DELETE FROM call_young WHERE key BETWEEN ? AND ?;

-- name: about_insert
INSERT INTO about (source, model, provider, scope) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING;

-- name: about_number
SELECT number FROM about WHERE (source, model, provider, scope) = (?, ?, ?, ?);

-- name: part_insert
INSERT INTO part (seq, call, token_class, suffix, tokens, body) VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (seq) DO NOTHING;

-- name: call_name
-- A further key for the call that has the second one, where nobody has it.
INSERT INTO call_young (key, call) WITH given (name, identity) AS (VALUES (?, ?)), found (name, call) AS (
    SELECT name, coalesce((SELECT call FROM call_young WHERE key = identity),
        (SELECT call FROM call_old WHERE key = identity)) FROM given
)
SELECT name, found.call FROM found WHERE found.call IS NOT NULL AND NOT EXISTS (SELECT 1 FROM call_old WHERE key = name)
ON CONFLICT DO NOTHING;

-- name: call_tokens
-- A further key may outlast its call: then nothing is known but that there was one.
WITH RECURSIVE asked (at) AS (
    SELECT 1 WHERE length(:keys) > 0 UNION ALL SELECT at + 20 FROM asked WHERE at + 20 < length(:keys)
),
found (key, call) AS MATERIALIZED (
    SELECT substr(:keys, at, 20), coalesce((SELECT call FROM call_young WHERE key = substr(:keys, at, 20)),
        (SELECT call FROM call_old WHERE key = substr(:keys, at, 20))) FROM asked
)
SELECT key, id, tokens, scope FROM found CROSS JOIN event_of_call ON event_of_call.call = found.call
UNION ALL SELECT key, '', 0, '' FROM found
WHERE call IS NOT NULL AND NOT EXISTS (SELECT 1 FROM call WHERE call.seq = found.call);

-- name: event_max
SELECT coalesce(max(seq), 0) FROM part;

-- name: event_read
SELECT seq, body FROM part WHERE seq > ? ORDER BY seq LIMIT ?;

-- name: outbox_fill
INSERT INTO outbox (seq) SELECT seq FROM part WHERE seq >= ?;

-- name: usage_add
INSERT INTO usage_day (day, subject, model, token_class, events, tokens) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (day, subject, model, token_class) DO UPDATE
    SET events = events + excluded.events, tokens = tokens + excluded.tokens;

-- name: local_fill
INSERT INTO local_only (seq) SELECT seq FROM part WHERE seq >= ?;

-- name: outbox_after
SELECT outbox.seq, part.body FROM outbox JOIN part USING (seq) WHERE outbox.seq > ? ORDER BY outbox.seq LIMIT ?;

-- name: outbox_depth_to
SELECT count(*) FROM outbox WHERE seq <= ?;

-- name: outbox_between
SELECT seq FROM outbox WHERE seq BETWEEN ? AND ? ORDER BY seq;

-- name: outbox_without
SELECT outbox.seq, part.body FROM outbox JOIN part USING (seq)
WHERE outbox.seq NOT IN (SELECT value FROM json_each(?)) ORDER BY outbox.seq LIMIT ?;

-- name: outbox_delete
DELETE FROM outbox WHERE seq BETWEEN ? AND ?;

-- name: sent_insert
INSERT INTO sent (seq, sent_ns) SELECT seq, ? FROM outbox WHERE seq BETWEEN ? AND ?;

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
SELECT detail FROM json_each(?) AS asked CROSS JOIN held ON identity = asked.value
WHERE outcome IN ('parked', 'estimated');

-- name: held_read
SELECT held_ns, detail FROM held WHERE outcome IN (SELECT value FROM json_each(?)) ORDER BY held_ns, trace_id, span_id;

-- name: held_traces
SELECT DISTINCT trace_id FROM held WHERE outcome = 'parked';

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
-- Whole days from their sums, the rest from the events.
WITH used (subject, model, token_class, time_s, events, tokens) AS (
    SELECT subject, model, token_class, day * 86400, events, tokens FROM usage_day
    WHERE day >= :from_day AND day < :to_day AND (:subject = '' OR subject = :subject)
    UNION ALL
    SELECT subject, model, token_class, time_ns / 1000000000, 1, tokens FROM event_of_call
    WHERE time_ns >= :from_ns AND time_ns < min(:to_ns, :from_day * 86400000000000) AND (:subject = '' OR subject = :subject)
    UNION ALL
    SELECT subject, model, token_class, time_ns / 1000000000, 1, tokens FROM event_of_call
    WHERE time_ns >= max(:from_ns, :to_day * 86400000000000) AND time_ns < :to_ns AND (:subject = '' OR subject = :subject)
)
SELECT subject, model, token_class, strftime(:format, time_s, 'unixepoch') AS period, sum(events), sum(tokens) FROM used
GROUP BY subject, model, token_class, period
ORDER BY subject, period, model, token_class;

-- name: event_after
SELECT part.seq, made_ns FROM part CROSS JOIN call ON call.seq = part.call WHERE part.seq > ? ORDER BY part.seq LIMIT ?;

-- name: event_unneeded_after
SELECT part.seq, made_ns FROM part CROSS JOIN call ON call.seq = part.call
WHERE part.seq > ? AND part.seq NOT IN (SELECT seq FROM outbox) AND part.seq NOT IN (SELECT seq FROM dead_letter)
    AND part.seq NOT IN (SELECT seq FROM local_only)
ORDER BY part.seq LIMIT ?;

-- name: event_prune_body
UPDATE part SET body = x'' WHERE seq = ? AND seq NOT IN (SELECT seq FROM outbox)
    AND seq NOT IN (SELECT seq FROM dead_letter) AND seq NOT IN (SELECT seq FROM local_only)
    AND seq NOT IN (SELECT seq FROM discarded);

-- name: sent_prune
DELETE FROM sent WHERE seq = ?;

-- name: event_prune
DELETE FROM part WHERE seq = ?;

-- name: held_prune
DELETE FROM held WHERE outcome IN ('unmetered', 'invalid') AND held_ns < ?;

-- name: dead_letter_page
SELECT seq, event.id, event.source, event.subject, event.time_ns, event.body, buried_ns, status, reason
FROM dead_letter JOIN event USING (seq) WHERE seq > ? ORDER BY seq LIMIT ?;

-- name: dead_letter_delete
DELETE FROM dead_letter WHERE seq = ?;

-- name: discarded_page
SELECT seq, event.id, event.source, event.subject, event.time_ns, event.body, buried_ns, status, refusal,
    discarded_ns, discarded.reason
FROM discarded JOIN event USING (seq) WHERE seq > ? ORDER BY seq LIMIT ?;

-- name: discarded_insert
INSERT INTO discarded (seq, buried_ns, status, refusal, discarded_ns, reason)
SELECT seq, buried_ns, status, reason, ?, ? FROM dead_letter WHERE seq = ?;

-- name: discarded_depth
SELECT count(*) FROM discarded;

-- name: outbox_from_dead_letter
INSERT INTO outbox (seq) SELECT seq FROM dead_letter WHERE seq = ?;

-- name: replay_page
SELECT part.seq, page.time_ns,
    CASE WHEN length(part.body) = 0 THEN 'forgotten' WHEN sent.seq IS NOT NULL THEN 'sent' WHEN settled.seq IS NOT NULL THEN 'settled'
        WHEN local_only.seq IS NOT NULL THEN 'local' WHEN outbox.seq IS NOT NULL THEN 'waiting'
        WHEN dead_letter.seq IS NOT NULL OR discarded.seq IS NOT NULL THEN 'refused' ELSE 'forgotten' END,
    coalesce(sent.sent_ns, settled.sent_ns, 0)
FROM (SELECT seq AS call, time_ns FROM call
        WHERE (time_ns, seq) > (:after_ns, :after_seq) AND time_ns < :to_ns AND (:subject = '' OR subject = :subject)
        ORDER BY time_ns, seq LIMIT :limit) AS page
    CROSS JOIN part ON part.seq BETWEEN page.call AND page.call + 4 AND +part.call = page.call
    LEFT JOIN sent USING (seq) LEFT JOIN settled USING (seq) LEFT JOIN local_only USING (seq)
    LEFT JOIN outbox USING (seq) LEFT JOIN dead_letter USING (seq) LEFT JOIN discarded USING (seq)
ORDER BY page.time_ns, part.seq;

-- name: replay_count
SELECT count(*) FROM event_of_call WHERE time_ns >= :from_ns AND time_ns < :to_ns AND (:subject = '' OR subject = :subject);

-- name: outbox_from_sent
INSERT INTO outbox (seq) SELECT seq FROM sent JOIN part USING (seq) WHERE seq = ? AND length(body) > 0;

-- name: outbox_from_settled
INSERT INTO outbox (seq) SELECT seq FROM settled JOIN part USING (seq) WHERE seq = ? AND length(body) > 0;

-- name: outbox_from_local
INSERT INTO outbox (seq) SELECT seq FROM local_only JOIN part USING (seq) WHERE seq = ? AND length(body) > 0;

-- name: sent_delete
DELETE FROM sent WHERE seq = ?;

-- name: sent_left
DELETE FROM sent WHERE seq = ? AND seq IN (SELECT seq FROM outbox);

-- name: settled_left
DELETE FROM settled WHERE seq = ? AND seq IN (SELECT seq FROM outbox);

-- name: local_left
DELETE FROM local_only WHERE seq = ? AND seq IN (SELECT seq FROM outbox);

-- name: missing_left
DELETE FROM missing WHERE seq = ? AND seq IN (SELECT seq FROM outbox);

-- name: missing_delete
DELETE FROM missing WHERE seq = ?;

-- name: sent_unread
SELECT sent_ns FROM sent WHERE sent_ns >= ? AND sent_ns <= ?
    AND NOT EXISTS (SELECT 1 FROM missing WHERE missing.seq = sent.seq AND given_up = 1)
ORDER BY sent_ns LIMIT 1;

-- name: sent_overdue
SELECT event.seq, event.id, sent.sent_ns, coalesce(missing.resent, 0)
FROM sent JOIN event USING (seq) LEFT JOIN missing USING (seq)
WHERE event.source = :source AND sent.sent_ns >= :since_ns AND sent.sent_ns <= :now_ns - :grace_ns
    AND sent.sent_ns <= :now_ns - :grace_ns * (1 << coalesce(missing.resent, 0)) AND coalesce(missing.given_up, 0) = 0
ORDER BY sent.sent_ns LIMIT :limit;

-- name: complained_of
SELECT DISTINCT seq, event.id, coalesce(settled.sent_ns, 0), 0
FROM (SELECT seq FROM complaint WHERE read_ns < :read_ns ORDER BY read_ns LIMIT :limit)
    JOIN event USING (seq) LEFT JOIN settled USING (seq)
WHERE event.source = :source;

-- name: unsettled_among
WITH RECURSIVE asked (at) AS (
    SELECT 1 WHERE length(:keys) > 0 UNION ALL SELECT at + 20 FROM asked WHERE at + 20 < length(:keys)
)
SELECT seq, id FROM asked CROSS JOIN event_of_call ON call = coalesce(
    (SELECT call FROM call_young WHERE key = substr(:keys, at, 20)), (SELECT call FROM call_old WHERE key = substr(:keys, at, 20)))
WHERE id IN (SELECT value FROM json_each(:ids)) AND (+seq IN (SELECT seq FROM sent) OR +seq IN (SELECT seq FROM complaint));

-- name: settled_insert
INSERT INTO settled (seq, sent_ns, settled_ns) SELECT seq, sent_ns, ? FROM sent WHERE seq = ?;

-- name: complaint_delete
DELETE FROM complaint WHERE seq = ?;

-- name: complaint_insert
INSERT INTO complaint (seq, code, message, read_ns) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING;

-- name: complaint_seen
UPDATE complaint SET read_ns = ? WHERE seq = ?;

-- name: missing_resent
INSERT INTO missing (seq, missed_ns, resent, given_up) SELECT seq, ?, 1, 0 FROM sent WHERE seq = ?
ON CONFLICT (seq) DO UPDATE SET missed_ns = excluded.missed_ns, resent = resent + 1;

-- name: missing_given_up
INSERT INTO missing (seq, missed_ns, resent, given_up) SELECT seq, ?, 0, 1 FROM sent WHERE seq = ?
ON CONFLICT (seq) DO UPDATE SET missed_ns = excluded.missed_ns, given_up = 1;

-- name: settlement_depths
SELECT (SELECT count(*) FROM sent), (SELECT count(*) FROM settled),
    (SELECT count(*) FROM missing WHERE given_up = 0), (SELECT count(*) FROM missing WHERE given_up = 1);

-- name: complaint_read
SELECT event.subject, code, message, count(*), sum(event.tokens) FROM complaint JOIN event USING (seq)
GROUP BY event.subject, code, message ORDER BY count(*) DESC, event.subject, message;

-- name: absent_read
SELECT event.id, event.subject, event.tokens, sent.sent_ns, missing.missed_ns, missing.resent, missing.given_up
FROM missing JOIN event USING (seq) LEFT JOIN sent USING (seq) ORDER BY seq;

-- name: correctable_read
SELECT event.seq, event.id, source, subject, time_ns, token_class, tokens, model, provider, scope, body,
    CASE WHEN local_only.seq IS NOT NULL THEN 'local'
        WHEN dead_letter.seq IS NOT NULL OR discarded.seq IS NOT NULL THEN 'refused'
        WHEN event.seq IN (SELECT seq FROM outbox) THEN 'waiting' ELSE 'sent' END,
    (SELECT count(*) FROM correction WHERE corrected = event.seq),
    (SELECT coalesce(sum(made.tokens), 0) FROM correction JOIN event AS made USING (seq)
        WHERE corrected = event.seq AND correction.seq NOT IN (SELECT seq FROM discarded)),
    event.seq IN (SELECT seq FROM correction)
FROM event LEFT JOIN local_only USING (seq) LEFT JOIN dead_letter USING (seq) LEFT JOIN discarded USING (seq)
WHERE event.seq IN (SELECT event_of_call.seq
    FROM (SELECT call FROM call_young WHERE key BETWEEN :from_key AND :to_key
        UNION ALL SELECT call FROM call_old WHERE key BETWEEN :from_key AND :to_key) AS found
    CROSS JOIN event_of_call ON event_of_call.call = found.call WHERE event_of_call.id = :id)
ORDER BY source;

-- name: correction_insert
INSERT INTO correction (seq, corrected, number, reason) VALUES (?, ?, ?, ?);

-- name: correction_read
SELECT event.id, corrected.id, event.subject, event.tokens, event.time_ns, event.made_ns, correction.reason
FROM correction JOIN event USING (seq) JOIN event AS corrected ON corrected.seq = correction.corrected
ORDER BY correction.seq;

-- name: unseen_forget
DELETE FROM unseen WHERE process = ?;

-- name: unseen_write
INSERT INTO unseen (process, library, program, version, noted_ns) VALUES (?, ?, ?, ?, ?);

-- name: unseen_prune
DELETE FROM unseen WHERE noted_ns < ? OR noted_ns < (SELECT noted_ns FROM unseen ORDER BY noted_ns DESC LIMIT 1 OFFSET ?);

-- name: unseen_read
SELECT library, version, program, count(*), max(noted_ns) FROM unseen GROUP BY library, version, program
ORDER BY library, program, version;

-- name: unmetered_recent
SELECT detail FROM held WHERE outcome = 'unmetered' AND held_ns >= ? ORDER BY held_ns DESC LIMIT ?;
