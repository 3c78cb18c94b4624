-- The built-in directory of each security domain. A `name_key` is a name as it is compared, `searchable` what a search
-- looks through; empty texts mean nothing. Flags are 0 and 1.

CREATE TABLE local_users (
    id TEXT PRIMARY KEY,
    domain TEXT NOT NULL,
    name TEXT NOT NULL,
    name_key TEXT NOT NULL,
    password TEXT NOT NULL,
    password_changed BIGINT NOT NULL,
    enabled BIGINT NOT NULL,
    must_change BIGINT NOT NULL,
    expires BIGINT,
    credential_expires BIGINT,
    given_name TEXT NOT NULL,
    family_name TEXT NOT NULL,
    mail TEXT NOT NULL,
    phone TEXT NOT NULL,
    organisation TEXT NOT NULL,
    searchable TEXT NOT NULL,
    created BIGINT NOT NULL,
    changed BIGINT NOT NULL,
    UNIQUE (domain, name_key)
);

-- Digests of former passwords, the latest with the greatest number.
CREATE TABLE local_former_passwords (
    user_id TEXT NOT NULL REFERENCES local_users (id) ON DELETE CASCADE,
    number BIGINT NOT NULL,
    password TEXT NOT NULL,
    PRIMARY KEY (user_id, number)
);

CREATE TABLE local_groups (
    id TEXT PRIMARY KEY,
    domain TEXT NOT NULL,
    name TEXT NOT NULL,
    name_key TEXT NOT NULL,
    roles TEXT NOT NULL,
    created BIGINT NOT NULL,
    UNIQUE (domain, name_key)
);

CREATE TABLE local_members (
    group_id TEXT NOT NULL REFERENCES local_groups (id) ON DELETE CASCADE,
    user_id TEXT NOT NULL REFERENCES local_users (id) ON DELETE CASCADE,
    PRIMARY KEY (group_id, user_id)
);

CREATE INDEX local_members_by_user ON local_members (user_id);
