"""People, their sessions, and what throttles attempts."""

from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.execute(
        """
        CREATE TABLE people (
            person_id text PRIMARY KEY,
            -- In lower case: the same address written otherwise is the same person.
            email text NOT NULL UNIQUE CHECK (email = lower(email)),
            role text NOT NULL CHECK (role IN ('customer', 'operator')),
            password_hash text NOT NULL,
            tenant_id text NOT NULL,
            -- Whether auth is known to have the tenant. The row comes first, so that the same id is asked for again.
            tenant_made boolean NOT NULL,
            enabled boolean NOT NULL DEFAULT true,
            created_at timestamptz NOT NULL DEFAULT now()
        );
        CREATE INDEX people_of_tenant ON people (tenant_id);

        CREATE TABLE sessions (
            -- SHA-256 of what the cookie holds, which is stored nowhere.
            secret_hash bytea PRIMARY KEY,
            -- Names the session in lists; of no use to sign in with.
            session_id text NOT NULL UNIQUE,
            person_id text NOT NULL REFERENCES people ON DELETE CASCADE,
            created_at timestamptz NOT NULL DEFAULT now(),
            seen_at timestamptz NOT NULL DEFAULT now(),
            address text NOT NULL,
            user_agent text NOT NULL
        );
        CREATE INDEX sessions_of_person ON sessions (person_id);
        CREATE INDEX sessions_by_age ON sessions (seen_at);

        -- The generic cell rate algorithm, one row a bucket: when it will be empty again.
        CREATE TABLE throttles (
            bucket text PRIMARY KEY,
            empty_at timestamptz NOT NULL
        );
        CREATE INDEX throttles_by_age ON throttles (empty_at);
        """
    )
