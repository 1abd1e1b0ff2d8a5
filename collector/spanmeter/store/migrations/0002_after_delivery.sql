-- Rows go with their event, when retention lets go of it.

-- Dead letters given up: what the service had said, who decided nothing more is to be tried, when and why.
CREATE TABLE discarded (
    seq INTEGER PRIMARY KEY REFERENCES event (seq) ON DELETE CASCADE,
    buried_ns INTEGER NOT NULL,
    status INTEGER NOT NULL,
    refusal TEXT NOT NULL,               -- the service's words
    discarded_ns INTEGER NOT NULL,
    reason TEXT NOT NULL CHECK (reason <> '')
) STRICT;

-- Events that were read back from the service; an event is in one of outbox, sent, settled, dead_letter, discarded and
-- local_only.
CREATE TABLE settled (
    seq INTEGER PRIMARY KEY REFERENCES event (seq) ON DELETE CASCADE,
    sent_ns INTEGER NOT NULL,
    settled_ns INTEGER NOT NULL
) STRICT;

-- What the service holds against events that it stored: no meter counts them, or their subject is nobody's.
CREATE TABLE complaint (
    seq INTEGER NOT NULL REFERENCES event (seq) ON DELETE CASCADE,
    code TEXT NOT NULL,
    message TEXT NOT NULL,
    read_ns INTEGER NOT NULL,
    PRIMARY KEY (seq, code, message)
) STRICT, WITHOUT ROWID;
CREATE INDEX complaint_read ON complaint (read_ns);

-- Events that were sent and then looked for in vain: how often they were sent again since, and whether that is over.
CREATE TABLE missing (
    seq INTEGER PRIMARY KEY REFERENCES event (seq) ON DELETE CASCADE,
    missed_ns INTEGER NOT NULL,
    resent INTEGER NOT NULL,
    given_up INTEGER NOT NULL CHECK (given_up IN (0, 1))
) STRICT;

CREATE INDEX sent_time ON sent (sent_ns);

-- Adjusting events, which are events as others are, and what they adjust.
CREATE TABLE correction (
    seq INTEGER PRIMARY KEY REFERENCES event (seq) ON DELETE CASCADE,
    corrected INTEGER NOT NULL REFERENCES event (seq) ON DELETE CASCADE,
    number INTEGER NOT NULL CHECK (number > 0),
    reason TEXT NOT NULL CHECK (reason <> ''),
    UNIQUE (corrected, number)
) STRICT;
