"""What upstream accounts charge us. Pure."""

from bisect import bisect_right
from collections.abc import Iterable
from typing import Final, NamedTuple

from services.shared.pricing import Rates

_ANY: Final = ""


class CostRow(NamedTuple):
    """What an account, or any with an empty id, asks for a model from some moment on."""

    upstream_account_id: str
    model: str
    effective_ms: int
    rates: Rates


class CostBook:
    """Rates by account and model, the upstream's name for it or ours; the most specific counts."""

    def __init__(self, rows: Iterable[CostRow] = ()) -> None:
        self._rows: dict[tuple[str, str], tuple[list[int], list[Rates]]] = {}
        for row in sorted(rows, key=lambda row: (row.effective_ms, row.rates.price_version)):
            moments, rates = self._rows.setdefault((row.upstream_account_id, row.model), ([], []))
            moments.append(row.effective_ms)
            rates.append(row.rates)

    def rates(self, upstream_account_id: str, upstream_model: str, model: str, at_ms: int) -> Rates | None:
        """What was in force at a moment; None where we do not know what it cost us."""
        if not self._rows:
            return None
        for account_id in (upstream_account_id, _ANY):
            for name in (upstream_model, model):
                found = self._rows.get((account_id, name))
                if found is not None and (index := bisect_right(found[0], at_ms)):
                    return found[1][index - 1]
        return None


NO_COSTS: Final = CostBook()
