"""Certificate bundles that trust the emulator and everything that was trusted before."""

import hashlib
from pathlib import Path

import certifi

from phi_assets.config.private_files import write_secret


def bundle_with(authority: Path, existing: str | None, folder: Path) -> Path:
    """A PEM bundle of `existing` (certifi's roots if that is no file) and `authority`.

    `existing` itself if it has the authority already, else a file in `folder` named after its content.
    """
    base = Path(existing) if existing and Path(existing).is_file() else Path(certifi.where())
    roots = base.read_bytes()
    ours = authority.read_bytes()
    if ours.strip() in roots:
        return base
    content = roots.rstrip() + b"\n" + ours
    merged = folder / f"bundle-{hashlib.sha256(content).hexdigest()[:16]}.pem"
    if not merged.is_file():
        write_secret(merged, content)
    return merged
