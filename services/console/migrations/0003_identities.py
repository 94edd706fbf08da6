"""People as an OpenID Connect provider knows them."""

from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.execute(
        """
        CREATE TABLE identities (
            issuer text NOT NULL,
            -- The provider's own name for the person, which stays when their address changes.
            subject text NOT NULL,
            person_id text NOT NULL REFERENCES people ON DELETE CASCADE,
            created_at timestamptz NOT NULL DEFAULT now(),
            PRIMARY KEY (issuer, subject)
        );
        CREATE INDEX identities_of_person ON identities (person_id);
        """
    )
