"""Brands; the brand of a key, what it may call and from where, and its sealed copy."""

from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.execute(
        """
        -- What a brand says is a tollhouse.v1.Brand in its JSON form, but for what is a column or a table here because
        -- it is said once among all brands.
        CREATE TABLE brands (
            name text PRIMARY KEY CHECK (name ~ '^[a-z0-9._-]{1,63}$'),
            is_default boolean NOT NULL,
            form jsonb NOT NULL CHECK (jsonb_typeof(form) = 'object')
        );
        CREATE UNIQUE INDEX brands_default ON brands (is_default) WHERE is_default;
        CREATE TABLE brand_hosts (
            host text PRIMARY KEY,
            brand text NOT NULL REFERENCES brands ON DELETE CASCADE,
            position smallint NOT NULL
        );
        CREATE INDEX brand_hosts_of_brand ON brand_hosts (brand, position);

        -- Empty lists restrict nothing. A sealed copy is there while the key's brand shows keys again.
        ALTER TABLE keys
            ADD COLUMN brand text REFERENCES brands,
            ADD COLUMN models text[] NOT NULL DEFAULT '{}',
            ADD COLUMN addresses text[] NOT NULL DEFAULT '{}',
            ADD COLUMN sealed bytea;
        CREATE INDEX keys_of_brand ON keys (brand) WHERE brand IS NOT NULL;
        """
    )
