"""Tollhouse: a horizontally scaled gateway in front of language-model providers."""
