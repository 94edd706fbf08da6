"""One-time codes beside the password, and sessions that wait for one."""

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.execute(
        """
        CREATE TABLE one_time_codes (
            person_id text PRIMARY KEY REFERENCES people ON DELETE CASCADE,
            -- The secret that codes are made of, sealed under the console's master key.
            sealed bytea NOT NULL,
            -- Whether the person has shown that their device makes good codes; asked for at sign-in from then on.
            confirmed boolean NOT NULL DEFAULT false,
            -- The time step of the last code that was accepted: no code is good twice.
            last_step bigint NOT NULL DEFAULT 0
        );

        CREATE TABLE recovery_codes (
            person_id text NOT NULL REFERENCES one_time_codes ON DELETE CASCADE,
            code_hash bytea NOT NULL,
            PRIMARY KEY (person_id, code_hash)
        );

        -- The password was right; nobody is signed in before the code is, too.
        ALTER TABLE sessions ADD COLUMN awaits_code boolean NOT NULL DEFAULT false;
        """
    )
