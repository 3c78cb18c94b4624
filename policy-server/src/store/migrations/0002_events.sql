-- The event log. The head is one row: whoever appends locks it until the change itself is committed, so numbers follow
-- the order of commits and have no gaps.

CREATE TABLE event_head (
    id BIGINT PRIMARY KEY CHECK (id = 1),
    epoch TEXT NOT NULL,
    seq BIGINT NOT NULL
);

CREATE TABLE events (
    seq BIGINT PRIMARY KEY,
    change TEXT NOT NULL,
    created BIGINT NOT NULL
);
