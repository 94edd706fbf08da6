"""simulator: an upstream provider to try, test and load the gateway with."""
