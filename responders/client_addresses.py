"""Who asks: the address of a client, also behind the proxies that are said to be ours."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable
    from ipaddress import IPv4Network

    from aiohttp.web import BaseRequest

_FORWARDED: Final = "X-Forwarded-For"
_SITE_BITS: Final = 64
"""An IPv6 client has as many addresses as it likes below this prefix."""


def parse_networks(texts: Iterable[str]) -> list[IPv4Network | IPv6Network]:
    """Addresses or networks. Raises ValueError with a sentence."""
    return [ip_network(text) for text in texts]


class ClientAddresses:
    """Args:
    proxies: whose ``X-Forwarded-For`` is believed.
    """

    def __init__(self, proxies: Iterable[IPv4Network | IPv6Network]) -> None:
        self._proxies = tuple(proxies)

    def of(self, request: BaseRequest) -> str:
        """The client's IPv4 address, or the /64 of its IPv6 address; empty when it cannot be known.

        Every proxy puts its own client's address last, so the last one that is not a proxy's is the client's; what
        stands before it is the client's own word.
        """
        client = _parse(request.remote or "")
        if client is not None and self._is_proxy(client):
            named = ",".join(request.headers.getall(_FORWARDED, ())).split(",")
            for text in reversed(named):
                found = _parse(text.strip())
                if found is None:
                    break
                client = found
                if not self._is_proxy(client):
                    break
        if client is None:
            return ""
        return str(IPv6Network((client, _SITE_BITS), strict=False)) if isinstance(client, IPv6Address) else str(client)

    def _is_proxy(self, address: IPv4Address | IPv6Address) -> bool:
        return any(address in network for network in self._proxies)


def _parse(text: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return (isinstance(address, IPv6Address) and address.ipv4_mapped) or address
