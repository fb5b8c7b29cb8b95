"""Addresses of servers, as people give them."""

from yarl import URL

EVERYWHERE = frozenset({"0.0.0.0", "::", ""})  # noqa: S104 - compared, not bound
"""Hosts that stand for all addresses of a machine."""


def http_address(text: str) -> str | None:
    """An http or https address in the form that paths are added to; None where it is none.

    It has a host, and nothing behind its path.
    """
    try:
        url = URL(text)
    except ValueError:
        return None
    if url.scheme not in {"http", "https"} or not url.host or any(map(str.isspace, text)):
        return None
    if url.query_string or url.fragment:
        return None
    return str(url).rstrip("/")


def host_of(address: str) -> str:
    """The host of an http address, with its port unless that is the usual one, as in `Host`."""
    return URL(address).host_port_subcomponent or ""


def url_here(host: str, port: int) -> str:
    """The URL under which this machine reaches what listens on a host and port."""
    shown = "127.0.0.1" if host in EVERYWHERE else host
    return f"http://[{shown}]:{port}" if ":" in shown else f"http://{shown}:{port}"
