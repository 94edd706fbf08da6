"""Access tokens of the management API, and the answers that it gives again."""

from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.execute(
        """
        CREATE TABLE access_tokens (
            token_id text PRIMARY KEY,
            -- SHA-256 of what the caller sends, which is stored nowhere.
            secret_hash bytea NOT NULL UNIQUE,
            person_id text NOT NULL REFERENCES people ON DELETE CASCADE,
            name text NOT NULL,
            scopes text[] NOT NULL,
            created_at timestamptz NOT NULL DEFAULT now(),
            expires_at timestamptz NOT NULL,
            used_at timestamptz,
            revoked_at timestamptz
        );
        CREATE INDEX access_tokens_of_person ON access_tokens (person_id, created_at);

        CREATE TABLE api_answers (
            person_id text NOT NULL REFERENCES people ON DELETE CASCADE,
            idempotency_key text NOT NULL,
            -- A keyed hash of method, path and body: the same key for something else is refused.
            fingerprint bytea NOT NULL,
            created_at timestamptz NOT NULL DEFAULT now(),
            -- Absent while the first call is under way. Sealed, since answers may hold what is shown once.
            status integer,
            sealed bytea,
            PRIMARY KEY (person_id, idempotency_key)
        );
        CREATE INDEX api_answers_by_age ON api_answers (created_at);
        """
    )
