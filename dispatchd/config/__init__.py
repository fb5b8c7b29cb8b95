"""What the commands are told: options that have been checked, as values."""

from pathlib import Path

from msgspec import Struct

from dispatchd.core.card import ProviderType
from dispatchd.core.job import JobType
from dispatchd.core.limits import Limits
from dispatchd.core.network import Network
from dispatchd.engine.precision import Asked
from dispatchd.worker.backend.address import BackendAddress


class BackendConfig(Struct, frozen=True, kw_only=True):
    """The server that carries LLM_INFER jobs out. Without a model's name it must have one alone."""

    address: BackendAddress
    model: str | None


class WorkerConfig(Struct, frozen=True, kw_only=True):
    """What a worker needs to know, near or far."""

    key_path: Path
    model: str
    models_dir: Path
    precision: Asked
    slots: int | None  # None is as many as suit the model
    classifier: str  # one of CLASSIFIERS
    capabilities: frozenset[JobType] = frozenset(JobType)
    provider_type: ProviderType = ProviderType.DESKTOP
    backend: BackendConfig | None = None


class PaymentConfig(Struct, frozen=True, kw_only=True):
    """How one network's jobs are paid for. Without a facilitator's address it is simulated."""

    network: str
    pay_to: str | None
    asset: str | None
    facilitator: str | None
    legacy_names: bool
    behind_proxy: bool


class NetworkConfig(Struct, frozen=True, kw_only=True):
    """Where one network is served from, and what is paid for its jobs, if anything is."""

    network: Network
    port: int
    database: Path
    public_url: str | None
    """Where workers reach it; None where each connection says it."""
    payments: PaymentConfig | None
    store: str | None = None
    """A shared database instead of the file, beside which the coordinator's key lies anyway."""
    advertise: str | None = None


class RunConfig(Struct, frozen=True, kw_only=True):
    """What `dispatchd run` needs to know. `worker` is None for a coordinator alone."""

    networks: tuple[NetworkConfig, ...]
    host: str
    data_dir: Path
    worker: WorkerConfig | None
    limits: Limits
    grace_seconds: float
    testnet: bool
    require_keys: bool


class RemoteWorkerConfig(Struct, frozen=True, kw_only=True):
    """What `dispatchd worker` needs to know."""

    coordinators: tuple[str, ...]
    worker: WorkerConfig
    limits: Limits
    grace_seconds: float
    trust_code: str | None = None


class DoctorConfig(Struct, frozen=True, kw_only=True):
    """What `dispatchd doctor` looks at: what `run` would do, and perhaps a coordinator."""

    run: RunConfig
    coordinator: str | None
