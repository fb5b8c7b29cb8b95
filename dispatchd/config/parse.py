"""The options of each command, checked and made into values."""

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from dispatchd.config import (
    BackendConfig,
    DoctorConfig,
    RemoteWorkerConfig,
    RunConfig,
    WorkerConfig,
)
from dispatchd.config.networks import networks_of
from dispatchd.config.options import (
    CAPABILITIES,
    FAR_KEY,
    NEAR,
    OWN_KEY,
    PROVIDER_TYPES,
    RUN_OPTIONS,
)
from dispatchd.core.errors import Unusable
from dispatchd.core.limits import Limits
from dispatchd.core.sentence import plain_sentence
from dispatchd.engine.catalog import DEFAULT_LLM
from dispatchd.worker.backend.address import KEY_VARIABLE, BackendAddress

_MODELS = "models"


def doctor_config(values: Mapping[str, Any]) -> DoctorConfig:
    """Checks the options of `doctor`; raises `Unusable`."""
    rest = {option.name: () if option.repeatable else option.default for option in RUN_OPTIONS}
    simulated = values["payments"] == "simulated"
    how = {"testnet": True, "payments": "simulated" if simulated else "off"}
    run = run_config({**rest, **values, **how})
    return DoctorConfig(run=run, coordinator=values["coordinator"])


def run_config(values: Mapping[str, Any]) -> RunConfig:
    """Checks the options of `run`; raises `Unusable`."""
    data_dir = Path(values["data_dir"]).expanduser()
    return RunConfig(
        networks=networks_of(values, data_dir),
        host=values["host"],
        data_dir=data_dir,
        worker=None if values["no_worker"] else _worker_config(values, data_dir / OWN_KEY),
        limits=limits_of(values["limit"]),
        grace_seconds=_finite(values["grace"]),
        testnet=values["testnet"],
        require_keys=values["require_keys"],
    )


def remote_worker_config(values: Mapping[str, Any]) -> RemoteWorkerConfig:
    """Checks the options of `worker`; raises `Unusable`."""
    worker = msgspec.structs.replace(
        _worker_config(values, Path(values["data_dir"]).expanduser() / FAR_KEY),
        capabilities=frozenset(CAPABILITIES[name] for name in values["capability"] or CAPABILITIES),
        provider_type=PROVIDER_TYPES[values["provider_type"]],
    )
    return RemoteWorkerConfig(
        coordinators=tuple(values["coordinator"]) or (NEAR,),
        worker=worker,
        limits=limits_of(values["limit"]),
        grace_seconds=_finite(values["grace"]),
        trust_code=values["trust_code"] or None,
    )


def _finite(seconds: float) -> float:
    if not math.isfinite(seconds):
        raise Unusable("--grace must be a number of seconds.")
    return seconds


def limits_of(settings: Sequence[str]) -> Limits:
    """The limits with these changes, each `name=number`; raises `Unusable`."""
    values = dict(setting.partition("=")[::2] for setting in settings)
    for name in values.keys() - set(Limits.__struct_fields__):
        raise Unusable(f"--limit {name}: there is no such limit; ARCHITECTURE.md lists them.")
    try:
        limits = msgspec.convert(values, Limits, strict=False)
    except msgspec.ValidationError as error:
        raise Unusable(f"--limit: {plain_sentence(error)}.") from None
    for name in values:
        if not 0 <= getattr(limits, name) < math.inf:
            raise Unusable(f"--limit {name} must not be negative.")
    return limits


def models_dir(data_dir: str) -> Path:
    """Where pulled models live."""
    return Path(data_dir).expanduser() / _MODELS


def _worker_config(values: Mapping[str, Any], key_path: Path) -> WorkerConfig:
    return WorkerConfig(
        key_path=Path(values["key"] or key_path).expanduser(),
        model=values["model"] or DEFAULT_LLM,
        models_dir=models_dir(values["data_dir"]),
        precision=values["precision"],
        slots=values["slots"],
        backend=_backend(values),
        classifier=values["classifier"],
    )


def _backend(values: Mapping[str, Any]) -> BackendConfig | None:
    if not values["backend"] and not values["base_url"]:
        return None
    if not values["backend"]:
        raise Unusable("--base-url is the address of a backend: add --backend openai.")
    if not values["base_url"]:
        raise Unusable("--backend needs --base-url, the address of the server.")
    address = BackendAddress.of(values["base_url"], os.environ.get(KEY_VARIABLE, ""))
    return BackendConfig(address=address, model=values["model"] or None)
