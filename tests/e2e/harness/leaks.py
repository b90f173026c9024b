"""Finding secrets where everybody reads: in files byte by byte, and in texts."""

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from urllib.parse import quote

from phi_assets.emulator.process import CONTROL_KEY_FILE, Connection
from phi_assets.emulator.security.account_key import KEY_FILE
from phi_assets.emulator.serving.documents import KEYS
from phi_assets.emulator.store.state import Store

# What a secret looks like, for those that nobody has planted: signatures, tokens, and headers that carry them.
FORMS = {
    "a shared access signature": rb"sig=[A-Za-z0-9%+/=_-]{16,}",
    "a JSON Web Token": rb"eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*",
    "a bearer credential": rb"[Bb]earer [A-Za-z0-9._~+/=-]{16,}",
    "an account key": rb"(?:AccountKey|SharedAccessKey)=[A-Za-z0-9+/=]{16,}",
}


class Leaks:
    """Looks for the given secrets, by name, and for everything that has a secret's form."""

    def __init__(self, secrets: Mapping[str, str]) -> None:
        assert all(len(secret) >= 8 for secret in secrets.values()), "too short to be found for certain"
        self._patterns = {name: re.compile(form) for name, form in FORMS.items()}
        for name, secret in secrets.items():
            forms = {secret, quote(secret, safe="")}
            self._patterns[name] = re.compile(b"|".join(re.escape(form.encode()) for form in forms))

    def in_text(self, text: str | bytes, where: str) -> list[str]:
        """What of them is in a text, with its surroundings."""
        content = text.encode(errors="replace") if isinstance(text, str) else text
        return [
            f"{name} in {where}: {content[max(found.start() - 60, 0) : found.end()]!r}"
            for name, pattern in self._patterns.items()
            if (found := pattern.search(content))
        ]

    def in_folder(self, folder: Path, *, without: Iterable[Path] = ()) -> Iterator[str]:
        """What of them is in a folder's files, which also are those of its databases."""
        left_out = [path.resolve() for path in without]
        for path in sorted(folder.rglob("*")):
            if path.is_file() and not any(path.resolve().is_relative_to(other) for other in left_out):
                yield from self.in_text(path.read_bytes(), str(path))


def secrets_of(emulator: Connection) -> dict[str, str]:
    """Everything that opens something of the emulator, by name."""
    store = Store(next(emulator.directory.glob("*.sqlite*")))
    found = {"identity header": emulator.identity_header}
    found["control token"] = (emulator.directory / CONTROL_KEY_FILE).read_text(encoding="ascii").strip()
    found["storage key"] = (emulator.directory / KEY_FILE).read_text(encoding="ascii").strip()
    for number, keys in enumerate(store.list(KEYS)):
        found |= {f"{name} {number}": key for name, key in keys.items()}
    return found
