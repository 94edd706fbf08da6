"""Payments: one port, a provider a file, and the cashier that credits what was paid exactly once."""
