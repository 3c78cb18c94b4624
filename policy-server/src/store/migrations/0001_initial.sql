-- Text and 64-bit integers only, so that one schema serves SQLite and PostgreSQL. Times are seconds since 1970.

CREATE TABLE sealed_keys (
    purpose TEXT NOT NULL,
    record TEXT NOT NULL,
    certificate TEXT NOT NULL,
    sealed TEXT NOT NULL,
    created BIGINT NOT NULL,
    PRIMARY KEY (purpose, record)
);

CREATE TABLE agents (
    name TEXT PRIMARY KEY,
    fingerprint TEXT NOT NULL UNIQUE,
    rights TEXT NOT NULL,
    created BIGINT NOT NULL
);

CREATE TABLE sessions (
    token_hash TEXT PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    domain TEXT NOT NULL,
    entry TEXT NOT NULL,
    user_name TEXT NOT NULL,
    subject TEXT NOT NULL,
    created BIGINT NOT NULL,
    last_used BIGINT NOT NULL,
    ends BIGINT NOT NULL,
    address TEXT NOT NULL,
    user_agent TEXT NOT NULL
);

CREATE INDEX sessions_by_user ON sessions (domain, user_name);
