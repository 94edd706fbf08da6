"""What is said to clients, in the words of the API they speak: the only place of client-facing JSON."""
