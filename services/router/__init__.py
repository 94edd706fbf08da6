"""router: which upstream account takes an attempt."""
