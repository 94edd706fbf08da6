"""Which pepper a key was hashed under, so that it can be seen when the one of before is not needed any more."""

from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    # As services/shared/principal.py makes it of the pepper, which it does not tell. Those of before are noted when the
    # key is used.
    op.execute("ALTER TABLE keys ADD COLUMN pepper_id bytea")
