"""Quoting, committing and looking at jobs."""

import json
import uuid

from aiohttp import web

from dispatchd.api.body import json_text, parameter
from dispatchd.api.errors import json_response
from dispatchd.api.schema import Policy, choice, parse_order
from dispatchd.coordinator.coordinator import Coordinator
from dispatchd.core.clock import iso
from dispatchd.core.job import Job, JobStatus, JobType, Tier
from dispatchd.core.network import Network
from dispatchd.core.prices import in_dollars, price


class JobRoutes:
    """The routes under /v1/jobs, and the quote."""

    def __init__(self, coordinator: Coordinator, network: Network) -> None:
        self._coordinator = coordinator
        self._network = network

    def add_to(self, router: web.UrlDispatcher) -> None:
        """Registers the routes."""
        router.add_get("/v1/quote", self._quote)
        router.add_post("/v1/jobs/commit/fast", self._commit_fast)
        router.add_post("/v1/jobs/commit/cheap", self._commit_cheap)
        router.add_get("/v1/jobs/{id}", self._get)

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

    async def _commit_fast(self, request: web.Request) -> web.Response:
        return await self._commit(request, Tier.FAST)

    async def _commit_cheap(self, request: web.Request) -> web.Response:
        return await self._commit(request, Tier.CHEAP)

    async def _commit(self, request: web.Request, tier: Tier) -> web.Response:
        order = parse_order(await json_text(request), tier)
        job_id = str(uuid.uuid4())
        await self._coordinator.submit(order, job_id)
        return json_response({"job_id": job_id}, 201)

    async def _get(self, request: web.Request) -> web.Response:
        job = await self._coordinator.get(request.match_info["id"].lower())
        return web.Response(text=job_text(job), content_type="application/json", charset="utf-8")


def job_text(job: Job) -> str:
    """A job as the poll shows it; output and receipt stand in it exactly as they arrived."""
    members = {
        "id": json.dumps(job.id),
        "status": json.dumps(job.status),
        "result": _result(job),
        "receipt": _receipt(job),
        "created_at": json.dumps(iso(job.created_at)),
        "completed_at": "null" if job.completed_at is None else json.dumps(iso(job.completed_at)),
    }
    return "{" + ",".join(f'"{name}":{text}' for name, text in members.items()) + "}"


def _result(job: Job) -> str:
    if job.status is JobStatus.FAILED:
        return json.dumps({"error": job.error}, ensure_ascii=False)
    return job.output or "null"


def _receipt(job: Job) -> str:
    """The signed text with the signature added; it was verified before the job completed."""
    if job.receipt is None:
        return "null"
    signature = json.dumps(job.signature)
    return f'{job.receipt[:-1]},"signature":{signature},"verified":true}}'
