"""Pairing users with workers over HTTP."""

import re
from typing import Any

import pytest

from tests.api.conftest import Api

KEY = "0123456789abcdef" * 4
NOT_STRINGS: list[Any] = [None, 7, True, ["x"], {}]


async def code_for(api: Api, user_id: str = "alice") -> str:
    reply = await api.post("/v1/trust/create", {"user_id": user_id})
    assert reply.status == 201, reply
    return str(reply.body["pairing_code"])


async def test_create(api: Api) -> None:
    reply = await api.post("/v1/trust/create", {"user_id": "alice", "colour": "red"})
    assert (reply.status, list(reply.body)) == (201, ["pairing_code", "expires_at"])
    assert re.fullmatch("[0-9A-F]{6}", reply.body["pairing_code"])
    assert reply.body["expires_at"] == "2026-02-09T13:00:00.000Z"


async def test_codes_differ(api: Api) -> None:
    assert len({await code_for(api) for _ in range(10)}) == 10


@pytest.mark.parametrize("body", [{}, {"user_id": ""}, *({"user_id": v} for v in NOT_STRINGS)])
async def test_create_needs_a_user(api: Api, body: dict[str, Any]) -> None:
    (await api.post("/v1/trust/create", body)).refuses(400, "user_id")


async def test_claim_and_list(api: Api) -> None:
    code = await code_for(api)
    api.node.clock.advance(60)
    claim = {"pairing_code": code, "provider_pubkey": KEY, "colour": "red"}
    reply = await api.post("/v1/trust/claim", claim)
    assert reply.status == 200
    assert list(reply.body.items()) == [
        ("user_id", "alice"),
        ("paired_at", "2026-02-09T12:01:00.000Z"),
    ]
    listed = await api.get("/v1/trust/list?user_id=alice")
    assert listed.status == 200
    assert listed.body == {
        "providers": [{"provider_pubkey": KEY, "paired_at": "2026-02-09T12:01:00.000Z"}]
    }
    assert (await api.get("/v1/trust/list?user_id=bob")).body == {"providers": []}


async def test_a_key_is_kept_in_lower_case(api: Api) -> None:
    claim = {"pairing_code": await code_for(api), "provider_pubkey": KEY.upper()}
    assert (await api.post("/v1/trust/claim", claim)).status == 200
    listed = await api.get("/v1/trust/list?user_id=alice")
    assert [provider["provider_pubkey"] for provider in listed.body["providers"]] == [KEY]


async def test_a_worker_is_listed_once_for_each_user(api: Api) -> None:
    for user_id in ("alice", "alice", "bob"):
        code = await code_for(api, user_id)
        claim = {"pairing_code": code, "provider_pubkey": KEY}
        assert (await api.post("/v1/trust/claim", claim)).status == 200
    assert len((await api.get("/v1/trust/list?user_id=alice")).body["providers"]) == 1
    assert len((await api.get("/v1/trust/list?user_id=bob")).body["providers"]) == 1


@pytest.mark.parametrize("code", ["000000", "", "x", "A" * 1000, "é", "A3F2B1 ", "\0"])
async def test_a_code_that_nobody_has(api: Api, code: str) -> None:
    reply = await api.post("/v1/trust/claim", {"pairing_code": code, "provider_pubkey": KEY})
    assert (reply.status, reply.body["error"]) == (400, "invalid_code")


async def test_a_code_works_once(api: Api) -> None:
    claim = {"pairing_code": await code_for(api), "provider_pubkey": KEY}
    assert (await api.post("/v1/trust/claim", claim)).status == 200
    for key in (KEY, "f" * 64):
        reply = await api.post("/v1/trust/claim", claim | {"provider_pubkey": key})
        assert (reply.status, reply.body["error"]) == (400, "already_claimed")


async def test_a_code_works_for_an_hour(api: Api) -> None:
    late, latest = [{"pairing_code": await code_for(api), "provider_pubkey": KEY} for _ in range(2)]
    api.node.clock.advance(3599.999)
    assert (await api.post("/v1/trust/claim", late)).status == 200
    api.node.clock.advance(0.001)
    reply = await api.post("/v1/trust/claim", latest)
    assert (reply.status, reply.body["error"]) == (400, "expired")


@pytest.mark.parametrize(
    "key", ["", "a" * 63, "a" * 65, "g" * 64, f"{KEY}\n", f" {KEY[1:]}", "０" * 64, *NOT_STRINGS]
)
async def test_a_key_that_is_none_uses_no_code_up(api: Api, key: object) -> None:
    claim = {"pairing_code": await code_for(api), "provider_pubkey": key}
    (await api.post("/v1/trust/claim", claim)).refuses(400, "provider_pubkey")
    assert (await api.post("/v1/trust/claim", claim | {"provider_pubkey": KEY})).status == 200


async def test_any_64_hex_characters_are_a_key(api: Api) -> None:
    for key in ("0" * 64, "f" * 64):
        claim = {"pairing_code": await code_for(api), "provider_pubkey": key}
        assert (await api.post("/v1/trust/claim", claim)).status == 200


@pytest.mark.parametrize("value", NOT_STRINGS)
async def test_a_code_that_is_no_string(api: Api, value: object) -> None:
    claim = {"pairing_code": value, "provider_pubkey": KEY}
    (await api.post("/v1/trust/claim", claim)).refuses(400, "pairing_code")


@pytest.mark.parametrize(
    ("body", "name"), [({"pairing_code": "A3F2B1"}, "provider_pubkey"),
                       ({"provider_pubkey": KEY}, "pairing_code")],
)  # fmt: skip
async def test_a_claim_with_a_field_missing(api: Api, body: dict[str, str], name: str) -> None:
    (await api.post("/v1/trust/claim", body)).refuses(400, name)


@pytest.mark.parametrize("query", ["", "?user_id=", "?user_id=alice&user_id=alice"])
async def test_list_needs_one_user(api: Api, query: str) -> None:
    (await api.get(f"/v1/trust/list{query}")).refuses(400, "user_id")
