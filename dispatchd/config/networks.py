"""The networks that a node serves, from its options: ports, stores, and how jobs are paid for."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dispatchd.config import NetworkConfig, PaymentConfig
from dispatchd.core.address import EVERYWHERE, http_address
from dispatchd.core.errors import Unusable
from dispatchd.core.network import Network, find_network


def networks_of(values: Mapping[str, Any], data_dir: Path) -> tuple[NetworkConfig, ...]:
    """Each network with its port and its database; ports are given in the same order."""
    networks = [find_network(name) for name in values["network"] or ("monad",)]
    ports = list(values["port"])
    if len({network.caip2 for network in networks}) < len(networks):
        raise Unusable("--network names the same network twice.")
    if len(ports) > len(networks):
        raise Unusable("--port is given more often than --network.")
    if len(values["public_url"]) > len(networks):
        raise Unusable("--public-url is given more often than --network.")
    if values["db"] and len(networks) > 1:
        raise Unusable("--db is for one network; with several, use --data-dir.")
    ports += [network.port for network in networks[len(ports) :]]
    addresses = [_public_url(url) for url in values["public_url"]]
    if len({port for port in ports if port}) < len([port for port in ports if port]):
        raise Unusable("Two networks cannot share a port; give --port once for each.")
    return tuple(
        NetworkConfig(
            network=network,
            port=port,
            database=Path(values["db"] or data_dir / f"{network.name}.sqlite3").expanduser(),
            public_url=address,
            payments=payments,
            store=store,
            advertise=None if advertise is None else _url(advertise),
        )
        for network, port, address, payments, store, advertise in zip(
            networks,
            ports,
            _one_each(addresses, networks),
            _payments(values, networks),
            _stores(values, networks),
            _one_each(values["advertise"], networks),
            strict=True,
        )
    )


def _public_url(url: str) -> str:
    """An address at which workers come; raises `Unusable`."""
    if (address := http_address(url)) is None:
        raise Unusable(f"--public-url {url!r} is no address; use e.g. https://dispatch.example.org")
    return address


def _stores(values: Mapping[str, Any], networks: list[Network]) -> list[str | None]:
    """The shared database of each network that has one."""
    stores = values["store"]
    if stores and len(stores) < len(networks):
        raise Unusable("--store must be given once for each --network.")
    if len(set(stores)) < len(stores):
        raise Unusable("Two networks cannot share a database; give --store once for each.")
    for store in stores:
        if not store.startswith(("postgresql://", "postgres://")):
            raise Unusable("--store must be an address postgresql://…; a file goes into --db.")
    if stores and values["host"] in EVERYWHERE and len(values["advertise"]) < len(networks):
        raise Unusable("--store with --host for everywhere: say with --advertise which is yours.")
    if stores and values["db"]:
        raise Unusable("--store and --db exclude each other.")
    for flag, name in (("--store", "store"), ("--advertise", "advertise")):
        if len(values[name]) > len(networks):
            raise Unusable(f"{flag} is given more often than --network.")
    return _one_each(stores, networks)


def _url(text: str) -> str:
    if (url := http_address(text)) is None:
        raise Unusable("--advertise must be an address http://… or https://…")
    return url


def _one_each(given: Sequence[str], networks: list[Network]) -> list[str | None]:
    """What is given, in the order of the networks, and None for the others."""
    return [*given, *(None for _ in networks[len(given) :])]


def _payments(values: Mapping[str, Any], networks: list[Network]) -> list[PaymentConfig | None]:
    """How each network's jobs are paid for; addresses are given in the order of the networks."""
    how = values["payments"] or ("off" if values["testnet"] else "facilitator")
    if how == "off":
        if not values["testnet"]:
            raise Unusable("--payments off is for --testnet; without it jobs are sold.")
        return [None] * len(networks)
    _check_selling(values, how, networks)
    pay_to, assets = (_one_each(values[name], networks) for name in ("pay_to", "asset"))
    return [
        PaymentConfig(
            network=network.caip2,
            pay_to=payee,
            asset=asset,
            facilitator=None if how == "simulated" else values["facilitator"],
            legacy_names=values["legacy_network_names"],
            behind_proxy=values["behind_proxy"],
        )
        for network, payee, asset in zip(networks, pay_to, assets, strict=True)
    ]


def _check_selling(values: Mapping[str, Any], how: str, networks: list[Network]) -> None:
    for flag, name in (("--pay-to", "pay_to"), ("--asset", "asset")):
        if len(values[name]) > len(networks):
            raise Unusable(f"{flag} is given more often than --network.")
    if how == "simulated":
        if not values["testnet"]:
            raise Unusable("Simulated payments are worth nothing: add --testnet.")
        if values["facilitator"]:
            raise Unusable("--facilitator and --payments simulated exclude each other.")
    elif not values["facilitator"] or len(values["pay_to"]) < len(networks):
        raise Unusable(
            "This node would sell its jobs: give --pay-to ADDRESS (once for each --network) and"
            " --facilitator URL, or --testnet to take jobs without payment."
        )
