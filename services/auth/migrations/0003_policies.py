"""Plans; policies of tenants and keys; the group of a key."""

from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.execute(
        """
        -- Limits are arrays of {"metric": "requests", "amount": 60, "model": "for this one only, or absent"}.
        CREATE TABLE plans (
            name text PRIMARY KEY CHECK (name ~ '^[a-z0-9._-]{1,63}$'),
            limits jsonb NOT NULL CHECK (jsonb_typeof(limits) = 'array')
        );
        INSERT INTO plans (name, limits) VALUES
            ('free', '[{"metric": "requests", "amount": 10}, {"metric": "tokens", "amount": 40000}]'),
            ('starter', '[{"metric": "requests", "amount": 60}, {"metric": "tokens", "amount": 200000}]'),
            ('pro', '[{"metric": "requests", "amount": 300}, {"metric": "tokens", "amount": 1000000}]');

        ALTER TABLE tenants
            ADD COLUMN plan text REFERENCES plans,
            ADD COLUMN limits jsonb NOT NULL DEFAULT '[]' CHECK (jsonb_typeof(limits) = 'array');
        ALTER TABLE keys
            ADD COLUMN group_name text NOT NULL DEFAULT 'default' CHECK (group_name ~ '^[a-z0-9._-]{1,63}$'),
            ADD COLUMN plan text REFERENCES plans,
            ADD COLUMN limits jsonb NOT NULL DEFAULT '[]' CHECK (jsonb_typeof(limits) = 'array');
        CREATE INDEX tenants_of_plan ON tenants (plan) WHERE plan IS NOT NULL;
        CREATE INDEX keys_of_plan ON keys (plan) WHERE plan IS NOT NULL;
        """
    )
