-- A token that was handed over counts at the host, and for the client, that it was handed over to. Those of logins have
-- neither. Which of several tokens of a session was handed over is not known: such sessions end.

DELETE FROM sessions WHERE id IN (SELECT session_id FROM session_tokens GROUP BY session_id HAVING COUNT(*) > 1);

ALTER TABLE session_tokens ADD COLUMN host TEXT NOT NULL DEFAULT '';
ALTER TABLE session_tokens ADD COLUMN address TEXT NOT NULL DEFAULT '';
