-- What the plug-in does not see: client libraries of LLM services that a process uses and nothing instruments there.
CREATE TABLE unseen (
    process TEXT NOT NULL,
    library TEXT NOT NULL,
    program TEXT NOT NULL,
    version TEXT NOT NULL,
    noted_ns INTEGER NOT NULL,
    PRIMARY KEY (process, library)
) STRICT, WITHOUT ROWID;
CREATE INDEX unseen_noted ON unseen (noted_ns);
