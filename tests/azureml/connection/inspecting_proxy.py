"""A company's proxy that inspects TLS, and behind it the parts of Azure that sign people in.

It answers in place of every host itself, with certificates of an authority that no program knows by default.
"""

import datetime as dt
import json
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID


@dataclass
class Proxy:
    """A running proxy, and what it has seen."""

    url: str
    authority: Path
    """PEM file of the company's authority."""
    tunnels: list[str] = field(default_factory=list)
    """Hosts that somebody wanted to reach."""
    requests: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    """Host, path and parameters, of address and form, of every request."""

    def forms(self, part: str) -> list[dict[str, str]]:
        """The parameters of requests whose path has this part."""
        return [parameters for _, path, parameters in self.requests if part in path]


@contextmanager
def inspecting_proxy(folder: Path, *hosts: str) -> Iterator[Proxy]:
    """A proxy on loopback that answers for these hosts."""
    authority, chain = _certificates(folder, hosts)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    proxy = Proxy(f"http://127.0.0.1:{server.server_port}", authority)
    server.proxy, server.tls = proxy, context  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        server.shutdown()
        server.server_close()
        thread.join(timeout=10)


def client_certificate(path: Path) -> Path:
    """A service principal's certificate with its key."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    certificate = _signed(_name("principal"), _name("principal"), key).sign(key, hashes.SHA256())
    path.write_bytes(_private(key) + certificate.public_bytes(serialization.Encoding.PEM))
    return path


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    host = ""

    def do_CONNECT(self) -> None:
        self.host = self.path.partition(":")[0]
        self._proxy.tunnels.append(self.host)
        self.send_response(200)
        self.end_headers()
        try:
            self.connection = self.server.tls.wrap_socket(self.connection, server_side=True)  # type: ignore[attr-defined]
        except (ssl.SSLError, OSError):
            self.close_connection = True  # the client does not trust us
            return
        self.rfile, self.wfile = self.connection.makefile("rb"), self.connection.makefile("wb", buffering=0)
        self.close_connection = False

    def do_GET(self) -> None:
        self._answer({})

    def do_POST(self) -> None:
        form = self.rfile.read(int(self.headers.get("content-length", 0))).decode()
        self._answer({name: values[0] for name, values in parse_qs(form).items()})

    def _answer(self, form: dict[str, str]) -> None:
        address = urlsplit(self.path)
        parameters = {name: values[0] for name, values in parse_qs(address.query).items()} | form
        self._proxy.requests.append((self.host, address.path, parameters))
        content = json.dumps(_document(self.host, address.path, parameters)).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    @property
    def _proxy(self) -> Proxy:
        return self.server.proxy  # type: ignore[attr-defined]

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: the test looks at what the proxy has seen."""


def _document(host: str, path: str, parameters: dict[str, str]) -> dict[str, object]:
    if path.endswith("/openid-configuration"):
        base = f"https://{host}{path.partition('/v2.0')[0]}"
        return {
            "issuer": f"{base}/v2.0",
            "authorization_endpoint": f"{base}/oauth2/v2.0/authorize",
            "token_endpoint": f"{base}/oauth2/v2.0/token",
        }
    if "token" in path:
        audience = parameters.get("scope") or parameters.get("resource", "")
        claims = {"aud": audience, "exp": int(time.time()) + 3600}
        token = jwt.encode(claims, "a secret of at least thirty-two bytes", algorithm="HS256")
        ends = {"expires_in": 3600, "expires_on": str(claims["exp"])}
        return {"access_token": token, "token_type": "Bearer", "resource": audience, **ends}
    name = path.rpartition("/")[2]
    properties = {"discoveryUrl": f"https://{host}/discovery", "provisioningState": "Succeeded"}
    return {"id": path, "name": name, "location": "usgovvirginia", "properties": properties}


def _certificates(folder: Path, hosts: tuple[str, ...]) -> tuple[Path, Path]:
    root_key, key = (rsa.generate_private_key(public_exponent=65537, key_size=2048) for _ in range(2))
    root_name = _name("Company inspection")
    root = (
        _signed(root_name, root_name, root_key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(root_key.public_key()), critical=False)
        .sign(root_key, hashes.SHA256())
    )
    issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(root_key.public_key())
    leaf = (
        _signed(_name(hosts[0]), root_name, key)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host) for host in hosts]), critical=False)
        .add_extension(issuer, critical=False)
        .sign(root_key, hashes.SHA256())
    )
    authority, chain = folder / "company.pem", folder / "chain.pem"
    authority.write_bytes(root.public_bytes(serialization.Encoding.PEM))
    chain.write_bytes(_private(key) + leaf.public_bytes(serialization.Encoding.PEM))
    return authority, chain


def _signed(subject: x509.Name, issuer: x509.Name, key: rsa.RSAPrivateKey) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(days=2))
    )


def _private(key: rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
