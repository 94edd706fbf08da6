"""auth: who is asking, and is there credit for it."""
