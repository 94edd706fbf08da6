"""The order of what holders ask of a grant, so that what was overtaken on its way changes nothing."""

from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.execute(
        """
        -- Of the holder's last question about it.
        ALTER TABLE grants ADD COLUMN sequence bigint NOT NULL DEFAULT 0;
        """
    )
