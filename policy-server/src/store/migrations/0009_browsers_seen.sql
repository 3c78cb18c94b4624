-- When, from where and as what a remembered browser last logged in: for the person to know it by.

ALTER TABLE remembered_browsers ADD COLUMN seen BIGINT NOT NULL DEFAULT 0;
ALTER TABLE remembered_browsers ADD COLUMN address TEXT NOT NULL DEFAULT '';
ALTER TABLE remembered_browsers ADD COLUMN user_agent TEXT NOT NULL DEFAULT '';

UPDATE remembered_browsers SET seen = CASE WHEN since > created THEN since ELSE created END;
