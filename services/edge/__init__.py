"""edge: the only part that faces clients and upstreams."""
