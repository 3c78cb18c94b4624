-- Browsers that may log in by themselves. What was typed is sealed under keys that only their cookies hold. `pending` is
-- 0 and `pending_sealed` empty where no cookie is on its way; `skipped` is a JSON list of numbers. Flags are 0 and 1.

CREATE TABLE remembered_browsers (
    series TEXT PRIMARY KEY,
    domain TEXT NOT NULL,
    entry TEXT NOT NULL,
    user_name TEXT NOT NULL,
    methods TEXT NOT NULL,
    created BIGINT NOT NULL,
    expires BIGINT NOT NULL,
    stolen BIGINT NOT NULL,
    generation BIGINT NOT NULL,
    since BIGINT NOT NULL,
    sealed TEXT NOT NULL,
    pending BIGINT NOT NULL,
    pending_since BIGINT NOT NULL,
    pending_sealed TEXT NOT NULL,
    skipped TEXT NOT NULL
);

CREATE INDEX remembered_browsers_by_user ON remembered_browsers (domain, user_name);
CREATE INDEX remembered_browsers_by_end ON remembered_browsers (expires);

-- The remembered browser that a session belongs to, if any, and whether it was opened without anybody typing.
ALTER TABLE sessions ADD COLUMN series TEXT NOT NULL DEFAULT '';
ALTER TABLE sessions ADD COLUMN remembered BIGINT NOT NULL DEFAULT 0;

CREATE INDEX sessions_by_series ON sessions (series);
