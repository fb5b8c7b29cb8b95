"""`ComputeRouter`: one call from a prompt to a result, whoever computes it."""

from collections.abc import Callable, Coroutine, Mapping
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

from msgspec.structs import replace

from dispatchd.core.receipt import Receipt
from dispatchd.sdk import Payer
from dispatchd.sdk.blocking import BlockingStream, LoopThread
from dispatchd.sdk.hosted import HostedAccounts
from dispatchd.sdk.http import Pace
from dispatchd.sdk.order import Order
from dispatchd.sdk.result import ComputeResult
from dispatchd.sdk.routes import Routes
from dispatchd.sdk.stream import TextStream
from dispatchd.sdk.verify import verify

LLM_SECONDS = 60.0
TASK_SECONDS = 30.0

_P = ParamSpec("_P")
_T = TypeVar("_T")


class ComputeRouter:
    """Runs jobs on the network, or at a hosted provider where the network fails.

    Its methods need no `async with`: each call then opens a connection of its own. Within one,
    calls share connections. `hosted` are the accounts that PUBLIC jobs fall back to; unless it is
    given they come from the environment, and `HostedAccounts()` means none. A run that takes too
    long raises `JobTimeout` and goes nowhere else, since its job goes on.

    A `payer`, such as `Wallet.from_key(…)`, pays where a coordinator asks for money: once a job,
    never more than was quoted, and never anew while the first payment might be taken. Whatever is
    wrong with a payment is a `PaymentError` and goes nowhere else; neither does a job that fails
    while the fate of its payment is unknown, since it might be paid for twice then.

    `api_key` shows the coordinators who the user is: one key for all of them, or one by name, as
    in `coordinator_urls`. Unless it is given it is `DISPATCHD_API_KEY`; an empty one is none.
    """

    def __init__(
        self,
        coordinator_urls: Mapping[str, str],
        preferred_hosted: str | None = None,
        payer: Payer | None = None,
        *,
        api_key: str | Mapping[str, str] | None = None,
        hosted: HostedAccounts | None = None,
        pace: Pace | None = None,
    ) -> None:
        accounts = HostedAccounts.from_environment() if hosted is None else hosted
        if preferred_hosted is not None:
            accounts = replace(accounts, preferred=preferred_hosted)
        self._routes = Routes(coordinator_urls, accounts, payer, pace or Pace(), api_key)

    @staticmethod
    def sync(
        coordinator_urls: Mapping[str, str],
        preferred_hosted: str | None = None,
        payer: Payer | None = None,
        *,
        api_key: str | Mapping[str, str] | None = None,
        hosted: HostedAccounts | None = None,
        pace: Pace | None = None,
    ) -> "BlockingRouter":
        """The same methods, blocking."""
        return BlockingRouter(
            ComputeRouter(
                coordinator_urls,
                preferred_hosted,
                payer,
                api_key=api_key,
                hosted=hosted,
                pace=pace,
            )
        )

    async def run_llm(
        self,
        /,
        prompt: str | None = None,
        max_tokens: int | None = None,
        user_id: str = "",
        chain_preference: str = "monad",
        policy: str = "AUTO",
        privacy: str = "PUBLIC",
        *,
        timeout: float = LLM_SECONDS,
        **fields: Any,
    ) -> ComputeResult:
        """Generates a text; `output["text"]` is it.

        `fields` are the payload's others, such as `system`, `messages` and `temperature`.
        """
        fields |= {"prompt": prompt, "max_tokens": max_tokens}
        order = Order.llm(fields, user_id, policy, privacy)
        return await self._routes.run(order, chain_preference, timeout)

    async def run_task(
        self,
        /,
        task_type: str,
        input: str,  # noqa: A002 - the network's name for it
        user_id: str = "",
        chain_preference: str = "monad",
        policy: str = "AUTO",
        privacy: str = "PUBLIC",
        *,
        timeout: float = TASK_SECONDS,
        **fields: Any,
    ) -> ComputeResult:
        """Runs `summarize`, `classify` or `extract_json` on a text."""
        fields |= {"task_type": task_type, "input": input}
        order = Order.task(fields, user_id, policy, privacy)
        return await self._routes.run(order, chain_preference, timeout)

    def stream_llm(
        self,
        /,
        prompt: str | None = None,
        max_tokens: int | None = None,
        user_id: str = "",
        chain_preference: str = "monad",
        policy: str = "AUTO",
        privacy: str = "PUBLIC",
        *,
        timeout: float = LLM_SECONDS,
        **fields: Any,
    ) -> TextStream:
        """`run_llm` in pieces: `async for piece in …`, then `.result`."""
        fields |= {"prompt": prompt, "max_tokens": max_tokens}
        order = Order.llm(fields, user_id, policy, privacy)
        return self._routes.stream(order, chain_preference, timeout)

    @staticmethod
    def verify(result: ComputeResult, *, provider_pubkey: str | None = None) -> Receipt:
        """Checks a result's receipt offline; raises `VerificationFailed`."""
        return verify(result, provider_pubkey=provider_pubkey)

    async def close(self) -> None:
        """Closes shared connections; without `async with` there are none."""
        await self._routes.close()

    async def __aenter__(self) -> Self:
        self._routes.open()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()


def _blocking(
    method: Callable[Concatenate[ComputeRouter, _P], Coroutine[Any, Any, _T]],
) -> Callable[Concatenate["BlockingRouter", _P], _T]:
    """The same method, run to its end on the router's thread."""

    def run(self: "BlockingRouter", /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
        return self.thread.run(method(self.router, *args, **kwargs))

    run.__doc__ = method.__doc__
    return run


def _blocking_stream(
    method: Callable[Concatenate[ComputeRouter, _P], TextStream],
) -> Callable[Concatenate["BlockingRouter", _P], BlockingStream]:
    def start(self: "BlockingRouter", /, *args: _P.args, **kwargs: _P.kwargs) -> BlockingStream:
        return BlockingStream(method(self.router, *args, **kwargs), self.thread)

    start.__doc__ = method.__doc__
    return start


class BlockingRouter:
    """A `ComputeRouter` for callers without an event loop; any thread may call it."""

    run_llm = _blocking(ComputeRouter.run_llm)
    run_task = _blocking(ComputeRouter.run_task)
    stream_llm = _blocking_stream(ComputeRouter.stream_llm)
    verify = staticmethod(verify)

    def __init__(self, router: ComputeRouter) -> None:
        self.router = router
        self.thread = LoopThread(router)

    def close(self) -> None:
        """Closes connections and ends the thread; done at exit, too."""
        self.thread.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
