-- The organisation's CA, Jami accounts and their devices. Ids of keys: `jami_authorities.id`, `jami_accounts.id` and
-- `short_id` are the SHA-1, `jami_devices.id` the SHA-256 of a public key (SubjectPublicKeyInfo), in hexadecimal. Sealed
-- keys, certificates and lists are base64; empty texts mean nothing; times are seconds since 1970.

-- The newest one signs; the former ones stand for what they signed.
CREATE TABLE jami_authorities (
    id TEXT PRIMARY KEY,
    certificate TEXT NOT NULL,
    sealed TEXT NOT NULL,
    number BIGINT NOT NULL UNIQUE,
    created BIGINT NOT NULL
);

-- `source` is the class of the login module that knows the person, `source_id` what it knows the person by for ever.
-- `subject` is what the last login proved. An account with `detached` set has no name any more: its person is gone.
-- `revision` counts the changes of the account's `jami_records`.
CREATE TABLE jami_accounts (
    id TEXT PRIMARY KEY,
    domain TEXT NOT NULL,
    user_name TEXT NOT NULL,
    user_key TEXT NOT NULL,
    source TEXT NOT NULL,
    source_id TEXT NOT NULL,
    entry TEXT NOT NULL,
    subject TEXT NOT NULL,
    authority TEXT NOT NULL,
    certificate TEXT NOT NULL,
    sealed TEXT NOT NULL,
    created BIGINT NOT NULL,
    rechecked BIGINT NOT NULL,
    suspended BIGINT NOT NULL,
    detached BIGINT,
    revision BIGINT NOT NULL DEFAULT 0
);

-- One account has the name.
CREATE UNIQUE INDEX jami_accounts_by_name ON jami_accounts (domain, user_key) WHERE detached IS NULL;

CREATE INDEX jami_accounts_by_identity ON jami_accounts (domain, source, source_id);
CREATE INDEX jami_accounts_by_recheck ON jami_accounts (domain, rechecked);

CREATE TABLE jami_devices (
    id TEXT PRIMARY KEY,
    account TEXT NOT NULL REFERENCES jami_accounts (id),
    short_id TEXT NOT NULL,
    name TEXT NOT NULL,
    created BIGINT NOT NULL,
    last_seen BIGINT NOT NULL,
    revoked BIGINT,
    reason TEXT NOT NULL
);

CREATE INDEX jami_devices_by_account ON jami_devices (account);

-- Everything that was ever signed: `issuer` is the id of an authority or of an account, `subject` that of an account or
-- of a device. `reason` is a CRLReason (RFC 5280, section 5.3.1).
CREATE TABLE jami_certificates (
    issuer TEXT NOT NULL,
    serial TEXT NOT NULL,
    subject TEXT NOT NULL,
    fingerprint TEXT NOT NULL UNIQUE,
    certificate TEXT NOT NULL,
    created BIGINT NOT NULL,
    not_after BIGINT NOT NULL,
    revoked BIGINT,
    reason BIGINT NOT NULL,
    PRIMARY KEY (issuer, serial)
);

CREATE INDEX jami_certificates_by_subject ON jami_certificates (subject);

-- The newest list of each issuer; number 0 before there is one. `stale` counts the revocations that came after it.
CREATE TABLE jami_revocation_lists (
    issuer TEXT PRIMARY KEY,
    number BIGINT NOT NULL,
    list TEXT NOT NULL,
    next_update BIGINT NOT NULL,
    stale BIGINT NOT NULL
);

-- `device` is empty for what a password was given for.
CREATE TABLE jami_tokens (
    token_hash TEXT PRIMARY KEY,
    account TEXT NOT NULL REFERENCES jami_accounts (id),
    device TEXT NOT NULL,
    expires BIGINT NOT NULL
);

CREATE INDEX jami_tokens_by_account ON jami_tokens (account);
CREATE INDEX jami_tokens_by_end ON jami_tokens (expires);

-- What the devices of an account share: contacts, conversations, conversation requests, each a JSON object.
CREATE TABLE jami_records (
    account TEXT NOT NULL REFERENCES jami_accounts (id),
    kind TEXT NOT NULL,
    id TEXT NOT NULL,
    record TEXT NOT NULL,
    PRIMARY KEY (account, kind, id)
);
