"""When a key was hashed, so that it can be seen which keys are still under a pepper of before."""

from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.execute("ALTER TABLE keys ADD COLUMN hashed_at timestamptz NOT NULL DEFAULT now()")
