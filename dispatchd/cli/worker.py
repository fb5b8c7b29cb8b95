"""`dispatchd worker`: a machine that works for a coordinator elsewhere."""

from typing import Any

import click

from dispatchd.cli.logs import log_to_stderr
from dispatchd.cli.options import with_options
from dispatchd.cli.run import announce_model
from dispatchd.config.options import WORKER_OPTIONS
from dispatchd.config.parse import remote_worker_config
from dispatchd.crew import Crew
from dispatchd.far_worker import run_worker
from dispatchd.loop import run_until_stopped


@click.command()
@with_options(WORKER_OPTIONS)
def worker(log_level: str, log_format: str, **values: Any) -> None:
    """Work for a coordinator on another machine; it may be started later.

    Example: dispatchd worker --coordinator http://192.168.1.20:4010
    """
    config = remote_worker_config(values)
    log_to_stderr(log_level, log_format)

    def announce(crew: Crew) -> None:
        click.echo(f"worker {crew.key.public_hex} ({', '.join(crew.models)})")
        click.echo(f"works for {' or '.join(config.coordinators)}; Ctrl-C stops it")

    run_until_stopped(lambda stop: run_worker(config, announce, announce_model, stop))
