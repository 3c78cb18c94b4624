-- A session may be opened by several tokens, one for each host, and ends with all of them. The primary key of a table cannot
-- be taken away in SQLite, so the sessions move.

ALTER TABLE sessions RENAME TO former_sessions;

CREATE TABLE sessions (
    id TEXT PRIMARY KEY,
    domain TEXT NOT NULL,
    entry TEXT NOT NULL,
    user_name TEXT NOT NULL,
    subject TEXT NOT NULL,
    created BIGINT NOT NULL,
    last_used BIGINT NOT NULL,
    rechecked BIGINT NOT NULL,
    ends BIGINT NOT NULL,
    address TEXT NOT NULL,
    user_agent TEXT NOT NULL,
    series TEXT NOT NULL,
    remembered BIGINT NOT NULL
);

INSERT INTO sessions (id, domain, entry, user_name, subject, created, last_used, rechecked, ends, address, user_agent, series,
    remembered)
SELECT id, domain, entry, user_name, subject, created, last_used, rechecked, ends, address, user_agent, series, remembered
FROM former_sessions;

CREATE TABLE session_tokens (
    token_hash TEXT PRIMARY KEY,
    session_id TEXT NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    created BIGINT NOT NULL
);

INSERT INTO session_tokens (token_hash, session_id, created) SELECT token_hash, id, created FROM former_sessions;

DROP TABLE former_sessions;

CREATE INDEX sessions_by_user ON sessions (domain, user_name);
CREATE INDEX sessions_by_recheck ON sessions (domain, rechecked);
CREATE INDEX sessions_by_series ON sessions (series);
CREATE INDEX session_tokens_by_session ON session_tokens (session_id);

-- Sessions on their way to another site: a row is good for one use.
CREATE TABLE handovers (
    code_hash TEXT PRIMARY KEY,
    session_id TEXT NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    domain TEXT NOT NULL,
    entry TEXT NOT NULL,
    audience TEXT NOT NULL,
    target TEXT NOT NULL,
    binding TEXT NOT NULL,
    expires BIGINT NOT NULL
);

CREATE INDEX handovers_by_session ON handovers (session_id);
CREATE INDEX handovers_by_end ON handovers (expires);
