"""What every brand promises of keys: their form, where they are honoured, and who sees them again."""

import pytest

from tests.contract.house import House
from tests.deployment import message


class Keys:
    """Inherited by each brand's tests."""

    def test_a_key_is_the_brands_prefix_and_a_body_without_hyphens(self, house: House, key: str) -> None:
        assert key.startswith(house.promised.key_prefix)
        assert key.removeprefix(house.promised.key_prefix).isalnum()

    def test_a_key_that_the_operator_makes_is_the_brands(self, house: House) -> None:
        tenant = house.tenant()
        brand = ("--brand", house.promised.name) if house.promised.name else ()
        secret = house.tollhouse.command("key", "add", tenant.tenant_id, "--name", "made by hand", *brand)
        assert secret.startswith(house.promised.key_prefix)
        assert house.call("GET", "/v1/balance", secret).status == 200

    def test_lists_show_a_key_masked_as_the_brand_masks_it(self, house: House) -> None:
        tenant = house.tenant()
        listed = house.tollhouse.command("key", "list", tenant.tenant_id)
        assert house.promised.masked(tenant.key) in listed.split()
        assert tenant.key not in listed

    def test_a_key_is_shown_again_only_if_the_brand_shows_keys(self, house: House) -> None:
        tenant = house.tenant()
        shown = house.tollhouse.command("key", "reveal", tenant.key_id, fails=not house.promised.revealed)
        assert (shown == tenant.key) is house.promised.revealed
        assert (tenant.key in shown) is house.promised.revealed

    @pytest.mark.parametrize("path", ["/v1/messages", "/v1/chat/completions"])
    @pytest.mark.parametrize("header", ["Authorization", "x-api-key"])
    def test_a_key_is_honoured_in_either_header_on_every_route(
        self, house: House, key: str, path: str, header: str
    ) -> None:
        brought = {header: f"Bearer {key}" if header == "Authorization" else key}
        assert house.call("POST", path, body=message(), headers=brought).status == 200
        for route in ("/v1/models", "/v1/usage", "/v1/balance"):
            assert house.call("GET", route, headers=brought).status == 200

    def test_the_same_key_in_both_headers_is_one_key(self, house: House, key: str) -> None:
        bare = key.removeprefix(house.promised.key_prefix)
        assert house.call("POST", "/v1/messages", key, message(), {"x-api-key": bare}).status == 200

    def test_a_key_is_found_with_its_prefix_with_a_bare_one_and_with_none(self, house: House, key: str) -> None:
        body = key.removeprefix(house.promised.key_prefix)
        for form in (key, f"sk-{body}", body):
            assert house.call("POST", "/v1/messages", form, message()).status == 200
