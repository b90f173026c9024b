"""Which certificate authorities this process and its children trust."""

import os
import ssl
from collections.abc import MutableMapping

from phi_assets.config.certificates import bundle_with
from phi_assets.config.settings import Settings


def trust_authorities(settings: Settings, environ: MutableMapping[str, str] | None = None) -> None:
    """Every HTTP library of this process and its children trusts `PHI_CA_BUNDLE` beside what it trusted before.

    The SDK and azure-identity take a bundle from `REQUESTS_CA_BUNDLE` only, httpx and the hub's client from
    `SSL_CERT_FILE`, and both replace the usual authorities by it: so each gets a merged file.
    """
    if settings.ca_bundle is None:
        return
    env = os.environ if environ is None else environ
    folder = settings.home / "tls"
    requests_bundle = env.get("REQUESTS_CA_BUNDLE") or env.get("CURL_CA_BUNDLE")
    openssl_bundle = env.get("SSL_CERT_FILE") or ssl.get_default_verify_paths().cafile
    env["REQUESTS_CA_BUNDLE"] = str(bundle_with(settings.ca_bundle, requests_bundle, folder))
    env["SSL_CERT_FILE"] = str(bundle_with(settings.ca_bundle, openssl_bundle, folder))
