"""Quoting, committing and looking at jobs."""

import contextlib
import re
import uuid
from functools import partial

from aiohttp import web

from dispatchd.api.access import Access
from dispatchd.api.body import json_text, page_size, parameter
from dispatchd.api.errors import guarded, json_response, raw_response
from dispatchd.api.gate import Gate
from dispatchd.api.job_view import JobView, listed_text
from dispatchd.api.schema import Policy, choice, parse_order, with_fingerprint
from dispatchd.coordinator.coordinator import Coordinator
from dispatchd.coordinator.explain import Exclusion, Rule
from dispatchd.core.clock import iso
from dispatchd.core.errors import Invalid, StoreUnavailable
from dispatchd.core.job import ENDED, LEASED, JobFilter, JobStatus, JobType, Tier
from dispatchd.core.limits import Limits
from dispatchd.core.network import Network
from dispatchd.core.prices import in_dollars, price

_KEY_CHARS_MAX = 255
_SECONDS = re.compile(r"[0-9]{1,4}(\.[0-9]{1,3})?")


class JobRoutes:
    """The routes under /v1/jobs, and the quote."""

    def __init__(
        self,
        coordinator: Coordinator,
        view: JobView,
        access: Access,
        network: Network,
        limits: Limits,
        gate: Gate,
    ) -> None:
        self._coordinator = coordinator
        self._view = view
        self._access = access
        self._gate = gate
        self._limits = limits
        self._network = network

    def add_to(self, router: web.UrlDispatcher) -> None:
        """Registers the routes."""
        router.add_get("/v1/quote", guarded(self._quote))
        for tier in Tier:
            commit = self._gate.before(
                partial(self._commit, tier), guarded, f"{tier.capitalize()} compute job"
            )
            router.add_post(f"/v1/jobs/commit/{tier.lower()}", commit)
        router.add_get("/v1/jobs", guarded(self._list))
        router.add_get("/v1/jobs/{id}", guarded(self._get))
        router.add_delete("/v1/jobs/{id}", guarded(self._cancel))
        router.add_get("/v1/jobs/{id}/explain", guarded(self._explain))

    async def _quote(self, request: web.Request) -> web.Response:
        job_type = choice(parameter(request, "job_type"), JobType, "job_type")
        policy = parameter(request, "policy")
        tier = choice(Policy.AUTO if policy is None else policy, Policy, "policy").tier(job_type)
        return json_response(
            {
                "price": in_dollars(price(tier, job_type)),
                "endpoint": f"/v1/jobs/commit/{tier.lower()}",
                "policy_resolved": tier,
                "network": self._network.caip2,
                "expires_at": None,
            }
        )

    async def _commit(self, tier: Tier, request: web.Request) -> web.Response:
        key = _idempotency_key(request)
        order = parse_order(await json_text(request, self._limits), tier)
        self._access.act_as(request, order.user_id)
        if key is not None or self._gate.sells:
            order = with_fingerprint(order)
        payment = self._gate.payment(request)
        submitted = await self._coordinator.submit(order, str(uuid.uuid4()), key, payment)
        body: dict[str, object] = {"job_id": submitted.job_id}
        headers = {"Idempotent-Replay": "true"} if submitted.replayed else {}
        if self._gate.sells:
            with contextlib.suppress(StoreUnavailable):  # the job is stored, whatever comes now
                paid, settled = await self._view.payment(submitted.job_id)
                body, headers = body | paid, headers | settled
        return json_response(body, 201, headers)

    async def _get(self, request: web.Request) -> web.Response:
        job_id = request.match_info["id"].lower()
        seconds = self._seconds_to_wait(request)
        if seconds > 0:
            await self._access.read_by_id(request, job_id)
            job = await self._coordinator.wait(job_id, seconds)
        else:
            job = await self._coordinator.get(job_id)
        self._access.read(request, job)
        return await self._view.reply(job)

    async def _cancel(self, request: web.Request) -> web.Response:
        job_id = request.match_info["id"].lower()
        self._access.act_as(request, (await self._coordinator.look(job_id)).user_id)
        return await self._view.reply(await self._coordinator.cancel(job_id))

    async def _explain(self, request: web.Request) -> web.Response:
        job = await self._coordinator.get(request.match_info["id"].lower())
        self._access.read(request, job)
        body: dict[str, object] = {"job_id": job.id, "status": job.status}
        if job.status in ENDED:
            return json_response(body | {"workers": []})
        exclusions = await self._coordinator.overview.explain(job)
        able = job.status in LEASED or any(each.rule is None for each in exclusions)
        body["verdict"] = "will run" if able else "cannot run now"
        body["workers"] = [_excluded(each) for each in exclusions]
        return json_response(body)

    async def _list(self, request: web.Request) -> web.Response:
        self._access.enter(request)
        wanted = _filter(request, self._access.caller(request))
        jobs = await self._coordinator.list_jobs(wanted)
        texts = ",".join(listed_text(job) for job in jobs)
        after = f'"{jobs[-1].id}"' if len(jobs) == wanted.limit else "null"
        return raw_response(f'{{"jobs":[{texts}],"next":{after}}}'.encode())

    def _seconds_to_wait(self, request: web.Request) -> float:
        wait = parameter(request, "wait")
        if wait is None:
            return 0
        longest = self._limits.wait_seconds_max
        if not _SECONDS.fullmatch(wait) or float(wait) > longest:
            raise Invalid(f"wait must be a number of seconds from 0 to {longest:g}")
        return float(wait)


def _excluded(exclusion: Exclusion) -> dict[str, object]:
    body: dict[str, object] = {
        "provider_pubkey": exclusion.worker_key,
        "excluded_by": exclusion.rule,
    }
    if exclusion.rule is not Rule.SUSPENDED:
        return body
    standing = exclusion.standing
    until = iso(standing.strikes.suspended_until)
    return body | {"suspended_until": until, "failures": standing.record.failures}


def _filter(request: web.Request, caller: str | None) -> JobFilter:
    status = parameter(request, "status")
    return JobFilter(
        user_id=parameter(request, "user_id"),
        status=None if status is None else choice(status, JobStatus, "status"),
        after=parameter(request, "after"),
        limit=page_size(request),
        private_of=caller,
    )


def _idempotency_key(request: web.Request) -> str | None:
    keys = request.headers.getall("Idempotency-Key", [])
    if not keys:
        return None
    if len(keys) > 1 or not 1 <= len(keys[0]) <= _KEY_CHARS_MAX or not keys[0].isprintable():
        raise Invalid(f"Idempotency-Key must be one value of 1 to {_KEY_CHARS_MAX} characters")
    return keys[0]
