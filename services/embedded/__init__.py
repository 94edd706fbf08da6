"""Everything on one machine: Postgres and NATS from wheels, then the real service processes, under one supervisor."""
