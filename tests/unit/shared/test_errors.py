"""Unit tests of services.shared.errors."""

import pytest

from services.shared.errors import BY_LABEL, Blame, Kind, Refusal, from_detail, to_detail
from tollhouse.v1 import types_pb2


@pytest.mark.parametrize("kind", Kind)
def test_a_refusal_of_every_kind_crosses_grpc_unchanged(kind: Kind) -> None:
    refusal = from_detail(to_detail(Refusal(kind, "why not", fact="42", other="x")))
    assert refusal.kind is kind
    assert refusal.message == "why not"
    assert dict(refusal.details) == {"fact": "42", "other": "x"}


def test_a_kind_of_a_newer_peer_becomes_internal() -> None:
    refusal = from_detail(types_pb2.ErrorDetail(kind="made_tomorrow", message="secret detail"))
    assert refusal.kind is Kind.INTERNAL
    assert "made_tomorrow" in refusal.message
    assert "secret detail" not in refusal.message


def test_labels_are_unique_and_are_the_names_in_lower_case() -> None:
    assert len(BY_LABEL) == len(Kind)
    for kind in Kind:
        assert kind.label == kind.name.lower()


@pytest.mark.parametrize("kind", Kind)
def test_the_http_status_says_whose_fault_it_was(kind: Kind) -> None:
    assert kind.meaning.endswith(".")
    if kind.blame is Blame.CLIENT:
        assert 400 <= kind.http_status < 500
    else:
        assert kind.http_status >= 500 or kind is Kind.UPSTREAM_THROTTLED


def test_a_refusal_reads_as_its_kind_and_message() -> None:
    assert str(Refusal(Kind.KEY_MISSING, "no key")) == "key_missing: no key"
