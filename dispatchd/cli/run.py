"""`dispatchd run`: the whole network on one machine."""

import contextlib
import re
from typing import TYPE_CHECKING, Any

import click

from dispatchd.cli.logs import log_to_stderr
from dispatchd.cli.options import with_options
from dispatchd.config import NetworkConfig, RunConfig
from dispatchd.config.options import RUN_OPTIONS
from dispatchd.config.parse import run_config
from dispatchd.core.address import EVERYWHERE, url_here
from dispatchd.loop import run_until_stopped
from dispatchd.node import Running, run_node

if TYPE_CHECKING:  # a node without payments loads nothing of them
    from dispatchd.selling import Notice

_EXAMPLE = (
    '{"job_type":"LLM_INFER","user_id":"me","payload":'
    '{"job_type":"LLM_INFER","prompt":"What is a blockchain?"}}'
)
_SECRET = re.compile(r"//[^/]*@")
_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


@click.command()
@with_options(RUN_OPTIONS)
def run(log_level: str, log_format: str, **values: Any) -> None:
    """Run a node: coordinator, job store, scheduler and a worker of its own.

    Example: dispatchd run --testnet
    """
    config = run_config(values)
    log_to_stderr(log_level, log_format)
    run_until_stopped(lambda stop: run_node(config, announce, announce_model, stop))


def announce(running: Running) -> None:
    """Says what runs where, and what to type next."""
    config = running.config
    first_port = running.networks[0].port
    url = url_here(config.host, first_port)
    lines = [f"dispatchd {running.version} is running ({_terms(running)})"]
    for served in running.networks:
        network = served.config.network
        lines += [
            f"  address   {url_here(config.host, served.port)}",
            f"  network   {network.name} ({network.caip2})",
            f"  state     {_state(served.config)}",
            f"  receipts  chained under {served.coordinator_key}",
            *_payment_lines(served.notice),
        ]
    entrance = running.networks[0].config.public_url or f"http://THIS_MACHINE:{first_port}"
    lines += [
        *_worker_lines(running),
        *_exposure(config, [served.port for served in running.networks]),
        "Try it:",
        *_try_it(running, url),
        f"Join from elsewhere: dispatchd worker --coordinator {entrance}",
    ]
    click.echo("\n".join(lines))


def announce_model(words: str) -> None:
    """Says that LLM_INFER jobs begin now, since their model is there."""
    with contextlib.suppress(BrokenPipeError):  # whoever read the banner may be gone by now
        click.echo(f"{words} is ready")


def _state(network: NetworkConfig) -> str:
    """Where jobs are kept; the address of a shared database without what is secret in it."""
    if network.store is None:
        return str(network.database)
    place = _SECRET.sub("//", network.store.partition("?")[0])
    return f"{place}, shared with other coordinators"


def _terms(running: Running) -> str:
    notices = [served.notice for served in running.networks]
    if not any(notices):
        return "testnet: jobs are free"
    return "payments are simulated" if any(n and n.wallets for n in notices) else "jobs are sold"


def _try_it(running: Running, url: str) -> list[str]:
    notice = running.networks[0].notice
    if notice is not None:
        wallet = "1" if notice.wallets else "WALLET_FILE"
        ask = f'dispatchd submit llm "What is a blockchain?" --pay {wallet} --coordinator {url}'
        return [f"  {ask}"]
    return [
        f"  curl -X POST {url}/v1/jobs/commit/fast -H 'Content-Type: application/json' -d \\",
        f"    '{_EXAMPLE}'",
        f"  curl {url}/v1/jobs/JOB_ID",
    ]


def _payment_lines(notice: "Notice | None") -> list[str]:
    if notice is None:
        return []
    if not notice.wallets:
        return [
            f"  paid in   {notice.asset}",
            f"  paid to   {notice.pay_to}",
            f"  through   {notice.facilitator}",
        ]
    return [
        f"  paid in   {notice.asset} (simulated: play money)",
        f"  paid to   {notice.pay_to}",
        "  wallets   ten with play money; their keys come from the public seed phrase",
        f"            “{notice.seed_phrase}”",
        *(f"            {number:2}  {address}" for number, address in enumerate(notice.wallets, 1)),
    ]


def _worker_lines(running: Running) -> list[str]:
    crew = running.crew
    if crew is None:
        return ["  worker    none here; jobs wait for workers that join"]
    slots = ", ".join(
        f"{group.count} {'/'.join(sorted(group.job_types))}" for group in crew.card.slots
    )
    return [
        f"  worker    {crew.key.public_hex[:16]}… ({slots} at once)",
        f"  models    {', '.join(crew.models)}",
        f"  key       {running.config.worker.key_path if running.config.worker else ''}",
    ]


def _exposure(config: RunConfig, ports: list[int]) -> list[str]:
    if config.host in _LOOPBACK:
        return []
    where = "every network this machine is on" if config.host in EVERYWHERE else config.host
    opened = f"{_named(ports)} open to {where}"
    if config.require_keys:
        return [f"  open      {opened}: workers join freely, jobs need an API key."]
    return [
        f"  WARNING   {opened}: anyone there can join as a worker,",
        "            submit jobs, read and cancel jobs by id, and make pairing codes, in the name",
        "            of any user that has no API key. --require-keys asks everybody for one.",
    ]


def _named(ports: list[int]) -> str:
    if len(ports) == 1:
        return f"port {ports[0]} is"
    return f"ports {' and '.join(map(str, ports))} are"
