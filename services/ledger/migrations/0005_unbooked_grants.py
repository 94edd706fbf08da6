"""What grants that were lowered stand for, so that they stay until it is booked."""

from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.execute(
        """
        -- What their holders said, at the last lowering, was settled in them.
        ALTER TABLE grants ADD COLUMN settled_nano bigint NOT NULL DEFAULT 0;
        """
    )
