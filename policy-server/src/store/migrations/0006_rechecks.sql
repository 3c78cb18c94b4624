-- When all login modules of a session were last asked about its account.

ALTER TABLE sessions ADD COLUMN rechecked BIGINT NOT NULL DEFAULT 0;

CREATE INDEX sessions_by_recheck ON sessions (domain, rechecked);
