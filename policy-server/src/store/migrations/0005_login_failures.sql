-- Failed logins of one canonical user name, known only by a keyed hash, from one network. Times are seconds since 1970.

CREATE TABLE login_failures (
    domain TEXT NOT NULL,
    bucket TEXT NOT NULL,
    network TEXT NOT NULL,
    failures BIGINT NOT NULL,
    pending BIGINT NOT NULL,
    since BIGINT NOT NULL,
    charged BIGINT NOT NULL,
    locked_until BIGINT NOT NULL,
    locks BIGINT NOT NULL,
    name BIGINT NOT NULL,
    expires BIGINT NOT NULL,
    PRIMARY KEY (domain, bucket, network)
);

CREATE INDEX login_failures_by_network ON login_failures (domain, network);
CREATE INDEX login_failures_by_end ON login_failures (domain, expires);
