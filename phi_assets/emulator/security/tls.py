"""The emulator's own certificate authority, good for nothing but loopback."""

import datetime as dt
import ipaddress
import logging
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from phi_assets.config.private_files import write_secret

# Browsers and Apple platforms refuse leaf certificates that live longer.
_LIFETIME = dt.timedelta(days=825)
_RENEWAL = dt.timedelta(days=30)
logger = logging.getLogger(__name__)

_LOOPBACK = ipaddress.IPv4Address("127.0.0.1")


@dataclass(frozen=True)
class Certificates:
    """PEM files: what clients trust, and what the server shows."""

    authority: Path
    certificate: Path
    key: Path


def ensure_certificates(directory: Path) -> Certificates:
    """Certificate and key for `localhost` and 127.0.0.1, and the authority that signed them.

    They are made when missing or less than 30 days from their end. The authority's key is thrown away after the one
    signature, so nobody can ever use the authority to impersonate another host.
    """
    files = Certificates(directory / "ca.pem", directory / "server.pem", directory / "server.key")
    if not _usable(files):
        _create(files)
    return files


def _usable(files: Certificates) -> bool:
    if not (files.authority.is_file() and files.certificate.is_file() and files.key.is_file()):
        return False
    try:
        certificate = x509.load_pem_x509_certificate(files.certificate.read_bytes())
        authority = x509.load_pem_x509_certificate(files.authority.read_bytes())
        certificate.verify_directly_issued_by(authority)
        key = serialization.load_pem_private_key(files.key.read_bytes(), password=None)
    except (ValueError, TypeError, InvalidSignature) as error:
        logger.warning("the certificates in %s are damaged, and are made anew: %s", files.certificate.parent, error)
        return False
    fits = key.public_key() == certificate.public_key()
    return fits and certificate.not_valid_after_utc > dt.datetime.now(dt.UTC) + _RENEWAL


def _create(files: Certificates) -> None:
    authority_key = ec.generate_private_key(ec.SECP256R1())
    authority = _authority(authority_key)
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = _leaf(key, authority, authority_key)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    write_secret(files.authority, authority.public_bytes(serialization.Encoding.PEM))
    write_secret(files.key, private)
    # Last: a crash before this line leaves no certificate, and the next start makes all three again.
    files.certificate.unlink(missing_ok=True)
    write_secret(files.certificate, certificate.public_bytes(serialization.Encoding.PEM))


def _authority(key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    name = _name("phi_assets emulator CA")
    only_loopback = x509.NameConstraints(
        permitted_subtrees=[
            x509.DNSName("localhost"),
            x509.IPAddress(ipaddress.IPv4Network(f"{_LOOPBACK}/32")),
        ],
        excluded_subtrees=None,
    )
    return (
        _builder(name, name, key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(certificates=True), critical=True)
        .add_extension(only_loopback, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )


def _leaf(
    key: ec.EllipticCurvePrivateKey, authority: x509.Certificate, authority_key: ec.EllipticCurvePrivateKey
) -> x509.Certificate:
    hosts = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(_LOOPBACK)])
    issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key())
    return (
        _builder(_name("localhost"), authority.subject, key.public_key())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(hosts, critical=False)
        .add_extension(issuer, critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(authority_key, hashes.SHA256())
    )


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        # A client whose clock lags a little accepts a certificate made a moment ago.
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now - dt.timedelta(hours=1) + _LIFETIME)
    )


def _key_usage(*, certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=certificates,
        crl_sign=certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
