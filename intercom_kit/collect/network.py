"""Which proxy the environment names for a URL, for transports under an httpx client that is given one of ours."""

import os
from urllib.parse import urlsplit

from intercom_kit.settings import LOOPBACK


def proxy_for(url: str) -> str | None:
    """Return the environment's proxy for a URL; loopback never goes through one."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if host in LOOPBACK or not any(name.lower().endswith("_proxy") for name in os.environ):
        return None
    from urllib.request import getproxies, proxy_bypass  # here, as it is rare and slow to import

    if proxy_bypass(host):
        return None
    proxies = getproxies()
    return proxies.get(parts.scheme) or proxies.get("all")
