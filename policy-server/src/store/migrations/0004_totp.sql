-- What people's authenticator apps make codes of, sealed. A code is of a time step; only later ones than the last used
-- one count.

CREATE TABLE totp_secrets (
    domain TEXT NOT NULL,
    user_name TEXT NOT NULL,
    sealed TEXT NOT NULL,
    used_step BIGINT NOT NULL,
    created BIGINT NOT NULL,
    PRIMARY KEY (domain, user_name)
);
