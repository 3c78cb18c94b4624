-- Sessions that ended a while ago: whoever still shows the token of one is sent to the login, and gets back what was
-- posted with it; and whoever logs out with one ends the remembered browser it belonged to (`series`, if any). Forms are
-- sealed; `browser` is the SHA-256 of a cookie. Times are seconds since 1970.

CREATE TABLE ended_sessions (
    token_hash TEXT PRIMARY KEY,
    domain TEXT NOT NULL,
    user_name TEXT NOT NULL,
    series TEXT NOT NULL,
    ended BIGINT NOT NULL
);

CREATE INDEX ended_sessions_by_user ON ended_sessions (domain, user_name);
CREATE INDEX ended_sessions_by_end ON ended_sessions (ended);

CREATE TABLE parked_forms (
    id TEXT PRIMARY KEY,
    domain TEXT NOT NULL,
    user_name TEXT NOT NULL,
    host TEXT NOT NULL,
    origin TEXT NOT NULL,
    browser TEXT NOT NULL,
    sealed TEXT NOT NULL,
    expires BIGINT NOT NULL
);

CREATE INDEX parked_forms_by_user ON parked_forms (domain, user_name);
CREATE INDEX parked_forms_by_end ON parked_forms (expires);
