"""No network: what is loaded into a kernel that must make its views from the evidence alone.

An audit hook sees every connection and every look-up of a name that Python code asks for, whatever library it uses, and
cannot be taken out again. The loopback addresses and the machine's own sockets stay open.
"""

import socket
import sys
from ipaddress import ip_address
from typing import Any

_REACHING_OUT = ("socket.connect", "socket.sendto", "socket.sendmsg")
_LOOKING_UP = ("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr", "socket.getnameinfo")


class OfflineError(ConnectionError):
    """Something asked for the network in a place where all has to come from the evidence."""

    def __init__(self, what: object) -> None:
        super().__init__(f"The network is off: {what!r} was asked for. A view is made from the evidence alone.")


def refuse(event: str, arguments: tuple[Any, ...]) -> None:
    """Raise OfflineError when an audit event would reach beyond this machine."""
    if event in _REACHING_OUT:
        connection, address = arguments[:2]
        internet = connection.family in (socket.AF_INET, socket.AF_INET6)
        if connection.family != socket.AF_UNIX and not (internet and (address is None or _is_here(address[0]))):
            raise OfflineError(address)
    elif event in _LOOKING_UP:
        host = arguments[0][0] if isinstance(arguments[0], tuple) else arguments[0]
        if not _is_here(host):
            raise OfflineError(host)


def _is_here(host: Any) -> bool:  # noqa: ANN401 - whatever was asked for
    name = host.decode("ascii", "replace") if isinstance(host, bytes) else host
    if name in (None, "", "localhost"):
        return True
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False


def load_ipython_extension(_shell: object) -> None:
    """Turn the network off for as long as this process lives; `--ext=intercom_kit.archive.offline` does so at start."""
    sys.addaudithook(refuse)
