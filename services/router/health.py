"""How an upstream account is, for one family of models. Pure."""

import enum


class Verdict(enum.Enum):
    """What the picker may do with an account."""

    READY = "ready"
    UNPROVEN = "unproven"
    PROBE_DUE = "probe_due"
    PROBING = "probing"
    COOLING = "cooling"
