"""What lies below HTTP: certificates, why one was refused and what it says, private addresses, the system's reasons.

And the background thread for asynchronous work, so that nothing waits for a resolver that hangs.
"""

import asyncio
import ipaddress
import os
import socket
import ssl
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from threading import Thread
from typing import Any, NamedTuple, ParamSpec, TypeVar

from intercom_kit.records import TlsProblem

P = ParamSpec("P")
T = TypeVar("T")

_TLS_PROBLEMS: dict[int, TlsProblem] = {  # by OpenSSL's X509_V_ERR codes
    10: "expired",
    62: "wrong_host",
    64: "wrong_host",
    **dict.fromkeys((2, 18, 19, 20, 21), "unknown_ca"),
}
_NO_CHECK_TIME = 0x200000  # OpenSSL's X509_V_FLAG_NO_CHECK_TIME, which `ssl` has no name for
_WHOSE = ("issuer", "subject")
_NAMES_LIMIT = 10


class Certificate(NamedTuple):
    """What a certificate says: its issuer as "common name (organization)", and the hosts that it is for."""

    issuer: str
    names: tuple[str, ...]


@cache
def tls_context() -> ssl.SSLContext:
    """Return the one TLS context: the system's certificates (SSL_CERT_FILE counts), httpx's where it has none."""
    context = ssl.create_default_context()
    if not context.cert_store_stats()["x509_ca"]:
        import httpx

        context = httpx.create_ssl_context(trust_env=False)
        context.load_default_certs()  # a folder of certificates is read only when one of them is needed
    return context


def no_verification() -> ssl.SSLContext:
    """Return a context for plain http, or for looking at a certificate: nothing is ever sent over TLS with it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def tls_problem(root: BaseException | None) -> TlsProblem | None:
    """Return why a certificate was refused; None for any other failure."""
    if not isinstance(root, ssl.SSLCertVerificationError):
        return None
    return _TLS_PROBLEMS.get(root.verify_code, "other")


async def is_private(host: str, deadline: float) -> bool:
    """Tell whether a host is on loopback or in a private network, by its address; one that does not resolve is not."""
    try:
        return not ipaddress.ip_address(host).is_global
    except ValueError:
        pass
    try:
        async with asyncio.timeout_at(deadline):
            found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, TimeoutError, UnicodeError):
        return False
    return any(not ipaddress.ip_address(str(address[0]).partition("%")[0]).is_global for *_, address in found)


def root_of(error: BaseException) -> BaseException:
    """Return the exception at the bottom of a chain of causes; of several addresses, what the first one said."""
    while cause := error.exceptions[0] if isinstance(error, BaseExceptionGroup) else error.__cause__:
        error = cause
    return error


def reason_of(root: BaseException) -> str:
    """Return what the system said, of the kinds of exception whose texts are its own."""
    if isinstance(root, ssl.SSLCertVerificationError):
        return root.verify_message
    if isinstance(root, ssl.SSLError):
        return (root.reason or "not TLS").replace("_", " ").lower()
    if isinstance(root, socket.gaierror):
        return (root.strerror or "no address").lower()
    if isinstance(root, OSError) and root.errno:
        return os.strerror(root.errno).lower()
    return "the other side closed it"


def trusting(der: bytes) -> ssl.SSLContext:
    """Return a context that trusts this one certificate (DER), whatever is wrong with it, to have it decoded."""
    context = no_verification()
    context.verify_mode = ssl.CERT_REQUIRED
    context.set_ciphers("DEFAULT:@SECLEVEL=0")  # an old portal's short key is one more thing that may be wrong
    context.load_verify_locations(cadata=der)
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN | _NO_CHECK_TIME
    return context


def certificate_of(peer: Mapping[str, Any]) -> Certificate:
    """Return what a certificate says, as `SSLSocket.getpeercert` decodes it."""
    issuer, subject = ({key: value for group in peer.get(whose, ()) for key, value in group} for whose in _WHOSE)
    names = [name for _, name in peer.get("subjectAltName", ())] or [subject.get("commonName", "")]
    common, organization = issuer.get("commonName", ""), issuer.get("organizationName", "")
    text = f"{common} ({organization})" if common and organization not in ("", common) else common or organization
    return Certificate(text, tuple(name for name in names if isinstance(name, str) and name)[:_NAMES_LIMIT])


def in_background(work: Callable[[], Coroutine[Any, Any, T]]) -> Future[T]:
    """Start asynchronous work in a daemon thread with a loop of its own, and return at once.

    Waiting for the future can be interrupted; the work then goes on until it is done or the process ends. A notebook's
    own loop runs already, and a name that does not resolve must hold up neither the checks nor the process.
    """

    async def main() -> T:
        asyncio.get_running_loop().set_default_executor(_DaemonThreads())
        return await work()

    return _DaemonThreads().submit(asyncio.run, main())


class _DaemonThreads(ThreadPoolExecutor):
    """A daemon thread for each call: the system's resolver cannot be interrupted, and asyncio runs it in a thread.

    The threads of an ordinary executor are waited for when the loop is closed, and again when the process ends.
    """

    def submit(self, call: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Start a call in a thread of its own."""
        result: Future[T] = Future()

        def settle() -> None:
            if result.set_running_or_notify_cancel():
                try:
                    result.set_result(call(*args, **kwargs))
                except BaseException as error:  # noqa: BLE001  # raised where the result is waited for
                    result.set_exception(error)

        Thread(target=settle, daemon=True).start()
        return result

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Wait for nothing."""
