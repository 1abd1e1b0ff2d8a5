-- What was received and is not yet decided. One row a request: a row a span would cost three times as much.
CREATE TABLE journal (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    received_ns INTEGER NOT NULL,
    facts BLOB NOT NULL,                 -- see `spanmeter.store.journal`
    links BLOB NOT NULL,                 -- 32 bytes for every span without facts: trace, span, parent
    CHECK (length(links) % 32 = 0)
) STRICT;
-- The books name rows by their numbers. Those of another file must not come again, be it the one that had this name before,
-- or the books, which held the journal once: they begin beyond the latter's, at the second that the file was made in.
INSERT INTO sqlite_sequence (name, seq) VALUES ('journal', (1 << 41) + (CAST(strftime('%s', 'now') AS INTEGER) << 20));

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
