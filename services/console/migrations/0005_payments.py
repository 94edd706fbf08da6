"""Payments, what they moved, and what happened to them."""

from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.execute(
        """
        CREATE TABLE payments (
            payment_id text PRIMARY KEY,
            tenant_id text NOT NULL,
            -- Who began it. Not a reference: money stays on record when a person is gone.
            person_id text NOT NULL,
            provider text NOT NULL,
            amount_nano bigint NOT NULL CHECK (amount_nano > 0),
            -- The provider's name for it; empty until it has answered.
            reference text NOT NULL DEFAULT '',
            url text NOT NULL DEFAULT '',
            -- The provider's names for what belongs to it.
            parts text[] NOT NULL DEFAULT '{}',
            state text NOT NULL DEFAULT 'open',
            finding text NOT NULL DEFAULT '',
            received text NOT NULL DEFAULT '',
            received_nano bigint NOT NULL DEFAULT 0,
            returned_nano bigint NOT NULL DEFAULT 0,
            dispute text NOT NULL DEFAULT '',
            decided_nano bigint,
            version bigint NOT NULL DEFAULT 0,
            created_at timestamptz NOT NULL DEFAULT now(),
            changed_at timestamptz NOT NULL DEFAULT now(),
            -- When the provider was asked last, and when to ask it without being told to; NULL for no more.
            checked_at timestamptz,
            check_at timestamptz
        );
        CREATE INDEX payments_of_tenant ON payments (tenant_id, payment_id DESC);
        CREATE INDEX payments_by_reference ON payments (provider, reference) WHERE reference <> '';
        CREATE INDEX payments_by_part ON payments USING gin (parts);
        CREATE INDEX payments_to_check ON payments (check_at) WHERE check_at IS NOT NULL;

        -- Each is noted before the ledger is asked, under an idempotency key that its number makes; so what the ledger
        -- did is repeated without effect by whoever finds it not done.
        CREATE TABLE payment_movements (
            payment_id text NOT NULL REFERENCES payments,
            number integer NOT NULL,
            amount_nano bigint NOT NULL CHECK (amount_nano <> 0),
            done_at timestamptz,
            refused text NOT NULL DEFAULT '',
            PRIMARY KEY (payment_id, number)
        );
        CREATE INDEX payment_movements_to_do ON payment_movements (payment_id) WHERE done_at IS NULL;

        CREATE TABLE payment_events (
            event_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            payment_id text NOT NULL REFERENCES payments,
            at timestamptz NOT NULL DEFAULT now(),
            -- Who: the provider, the ledger, or an operator's address.
            source text NOT NULL,
            said text NOT NULL
        );
        CREATE INDEX payment_events_of_payment ON payment_events (payment_id, event_id);
        """
    )
