"""What the SDK does when it is asked for money."""

from typing import Any

import pytest

from dispatchd.sdk.errors import CommitLost, PaymentRequired
from dispatchd.sdk.hosted import Account, HostedAccounts
from tests.sdk.foreign_coordinator import foreign_coordinator
from tests.sdk.pace import router_to

USER = "user_abc123"


class Purse:
    """Pays whatever it is asked for."""

    def __init__(self) -> None:
        self.paid: list[dict[str, Any]] = []

    async def pay(self, offer: dict[str, Any]) -> dict[str, str]:
        self.paid.append(offer)
        return {"X-PAYMENT": "signed"}


async def test_without_a_payer_the_price_is_said() -> None:
    async with foreign_coordinator(asks="$0.010") as other:
        with pytest.raises(PaymentRequired, match=r"\$0\.010") as caught:
            await router_to(other.url).run_task("classify", "x", USER)
        assert caught.value.offers[0]["price"] == "$0.010"
        assert other.orders == []


async def test_a_payer_is_asked_once() -> None:
    purse = Purse()
    async with foreign_coordinator(asks="$0.010") as other:
        result = await router_to(other.url, payer=purse).run_task("classify", "x", USER)
        assert len(other.orders) == 1
        assert other.headers[0]["X-PAYMENT"] == "signed"
    assert len(purse.paid) == 1
    assert result.price == "$0.010"


async def test_more_than_quoted_is_not_paid() -> None:
    purse = Purse()
    async with foreign_coordinator(asks="$100.00") as other:
        with pytest.raises(PaymentRequired, match="nothing was paid"):
            await router_to(other.url, payer=purse).run_task("classify", "x", USER)
    assert purse.paid == []


async def test_a_paid_job_whose_answer_is_lost_goes_nowhere_else() -> None:
    purse = Purse()
    hosted = HostedAccounts(openai=Account("key", "http://127.0.0.1:1", "m"))
    async with foreign_coordinator(asks="$0.010", lost_answers=1) as other:
        with pytest.raises(CommitLost) as caught:
            await router_to(other.url, hosted, payer=purse).run_task("classify", "x", USER)
    assert caught.value.paid
    assert len(purse.paid) == 1
