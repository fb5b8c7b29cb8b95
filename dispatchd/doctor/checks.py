"""All checks for one configuration, in the order in which they are worth reading."""

from collections.abc import Iterator
from functools import partial
from importlib import import_module

from dispatchd.config import DoctorConfig
from dispatchd.config.options import FAR_KEY
from dispatchd.coordinator.chain import coordinator_key_file
from dispatchd.doctor import Check, coordinator, files, machine
from dispatchd.doctor.database import database
from dispatchd.doctor.models import model_checks
from dispatchd.doctor.payment import payment
from dispatchd.doctor.ports import port
from dispatchd.doctor.round_trip import at, at_own_node, job

_QUICK_SECONDS = 10.0
_WHOLE_DATABASE_SECONDS = 120.0
_JOB_SECONDS = 60.0
_STORE_SECONDS = 20.0


def checks_for(config: DoctorConfig) -> Iterator[Check]:
    """What there is to look at."""
    run = config.run
    yield Check("python", _QUICK_SECONDS, machine.python)
    yield Check("processor", _QUICK_SECONDS, machine.processor)
    yield Check("gpu", _JOB_SECONDS, machine.gpu)
    yield Check("data folder", _QUICK_SECONDS, partial(files.data_folder, run.data_dir))
    yield Check("disk", _QUICK_SECONDS, partial(files.room, run.data_dir))
    keys = [run.data_dir / FAR_KEY]
    if run.worker is not None:
        keys.insert(0, run.worker.key_path)
    for network in run.networks:
        name = network.network.name
        if network.store is None:
            look = partial(database, network.database)
            yield Check(f"database {name}", _WHOLE_DATABASE_SECONDS, look)
        else:
            yield from _store_checks(name, network.store)
        yield Check(f"port {name}", _QUICK_SECONDS, partial(port, run.host, network.port))
        keys.append(coordinator_key_file(network.database).path)
    for path in keys:
        yield Check(f"key {path.name}", _QUICK_SECONDS, partial(files.key_file, path))
    if run.worker is not None:
        yield from model_checks(run.worker)
    yield from _network_checks(config)


def _store_checks(name: str, url: str) -> Iterator[Check]:
    shared = import_module("dispatchd.doctor.shared")  # with the client that it needs
    for what, look in shared.CHECKS.items():
        yield Check(f"store {name} {what}".rstrip(), _STORE_SECONDS, partial(look, url))


def _network_checks(config: DoctorConfig) -> Iterator[Check]:
    if (url := config.coordinator) is not None:
        yield Check("coordinator", _QUICK_SECONDS, partial(coordinator.reachable, url))
        yield Check("clock", _QUICK_SECONDS, partial(coordinator.clock, url))
        yield Check("job", _JOB_SECONDS, partial(at, url, job))
        yield Check("payments", _JOB_SECONDS, partial(at, url, payment))
        return
    if config.run.networks[0].payments is None:
        yield Check("job", _JOB_SECONDS, partial(at_own_node, config.run, job))
    else:
        yield Check("payments", _JOB_SECONDS, partial(at_own_node, config.run, payment))
