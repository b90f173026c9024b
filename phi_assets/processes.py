"""Processes: those that were written down, by number or by name; what those that we start inherit; this one."""

import atexit
import gc
import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import psutil

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_FIRST_NAMESPACE = "pid:[4026531836]"
"""That of a machine itself: PROC_PID_INIT_INO, <https://man7.org/linux/man-pages/man7/pid_namespaces.7.html>."""

CLOCK_TOLERANCE_SECONDS = 2.0
"""The kernel's idea of the boot time, from which psutil computes, moves a little when the clock is set."""

_YOUNG_OBJECTS = 10_000

_INHERITED = frozenset(
    {
        "PATH",
        "HOME",
        "USER",
        "LOGNAME",
        "TMPDIR",
        "TEMP",
        "TMP",
        "TZ",
        "TZDIR",
        "LANG",
        "LANGUAGE",
        "SYSTEMROOT",
        "VIRTUAL_ENV",
        "CONDA_PREFIX",
        "XDG_CACHE_HOME",
        "DO_NOT_TRACK",
        "HF_HOME",
        "HF_HUB_CACHE",
        "HF_HUB_OFFLINE",
        "HF_DATASETS_CACHE",
        "TRANSFORMERS_CACHE",
        "TRANSFORMERS_OFFLINE",
    }
)
_INHERITED_PREFIXES = (
    # the interpreter, the loader, memory
    "PYTHON",
    "LC_",
    "LD_",
    "DYLD_",
    "MALLOC_",
    "MIMALLOC_",
    "_RJEM_",
    # numerical libraries
    "ARROW_",
    "BLIS_",
    "GOMP_",
    "GOTO_",
    "KMP_",
    "MKL_",
    "NPY_",
    "NUMEXPR_",
    "OMP_",
    "OPENBLAS_",
    "POLARS_",
    "PYTORCH_",
    "RAYON_",
    "TOKENIZERS_",
    "TORCH",
    "TRITON_",
    "VECLIB_",
    # accelerators
    "CUBLAS_",
    "CUDA",
    "CUDNN_",
    "HIP_",
    "HSA_",
    "NCCL_",
    "NVIDIA_",
    "ROCM_",
    "ROCR_",
)


def collect_seldom() -> None:
    """Garbage is looked for when there may be more of it: what the libraries make while they are imported stays, and to
    look through it hundreds of times takes a tenth of a command's time. At the end, when all of it would be looked
    through a few times more, the memory goes as a whole."""
    gc.set_threshold(_YOUNG_OBJECTS)
    atexit.register(gc.freeze)


def inherited(environment: Mapping[str, str]) -> dict[str, str]:
    """What a child gets of its parent's variables: what programs need to run, and nothing that could be a secret.

    Whatever is not listed stays behind, as nobody can know all the names that secrets have.
    """
    return {
        name: value
        for name, value in environment.items()
        if name in _INHERITED or (name.startswith(_INHERITED_PREFIXES) and name != "PYTHONSTARTUP")
    }


@dataclass(frozen=True)
class ProcessId:
    """A process that can be told from a later one with the same number, however the clock is set meanwhile."""

    pid: int
    created: float
    """Seconds since the epoch, by the clock of that moment: for people, and for documents without a `start`."""
    start: str | None = None
    """`<boot>/<ticks>`, the kernel's own; None in what was written down before there was this field."""

    @classmethod
    def of(cls, pid: int) -> Self:
        """The process that has this number now. Raises psutil.NoSuchProcess."""
        return cls(pid, psutil.Process(pid).create_time(), _start(pid))

    def document(self) -> dict[str, Any]:
        """The arguments that make it again, as JSON has them."""
        return {"pid": self.pid, "created": self.created, "start": self.start}

    def has_number(self) -> bool | None:
        """Whether the number is still this process's, if only until it is reaped; None where nobody has it.

        After a restart of the machine the number is nobody's that could be meant, so that is False too.
        """
        if self.start is not None and self.start.partition("/")[0] != _boot():
            return False
        start = _start(self.pid)
        if start is None:
            return None
        if self.start is not None:
            return start == self.start
        try:
            return abs(psutil.Process(self.pid).create_time() - self.created) < CLOCK_TOLERANCE_SECONDS
        except psutil.NoSuchProcess:
            return None

    def is_alive(self) -> bool:
        """Whether this very process runs."""
        return self.has_number() is True and born_at(self.pid) is not None


def born_at(pid: int) -> float | None:
    """When the process of this number was created, in seconds since the epoch; None where none of it is alive."""
    try:
        process = psutil.Process(pid)
        # One that nobody has reaped keeps its number.
        return None if process.status() == psutil.STATUS_ZOMBIE else process.create_time()
    except psutil.NoSuchProcess:
        return None


def pid_namespace() -> str | None:
    """Among which processes the numbers of this one count: a container has its own; None for those of the machine."""
    namespace = _namespace_of("self")
    return None if namespace == _FIRST_NAMESPACE else namespace


def _namespace_of(process: str) -> str | None:
    try:
        return os.readlink(f"/proc/{process}/ns/pid")
    except OSError:  # a kernel without namespaces, or one that does not tell
        return None


def listens_out_of_sight(port: int) -> bool:
    """Whether a port of this machine is another container's, or of somebody whose processes cannot be looked at.

    Containers that share a network share 127.0.0.1, and not the numbers of their processes.
    """
    ours = _namespace_of("self")
    if ours is None:
        return False
    listeners = (each for each in psutil.net_connections("tcp") if each.status == psutil.CONN_LISTEN)
    found = [each.pid for each in listeners if each.laddr and each.laddr.port == port]
    return any(pid is None or _namespace_of(str(pid)) != ours for pid in found)


def this_process() -> str:
    """`<machine>/<boot>/<number>/<start>`: no other process, on any machine, has had or will have this name.

    Where the kernel tells them, boot and start are its own id and its own ticks, which no change of the clock moves.
    In a container `<machine>` says of which boot and which container as well.
    """
    name = _name(os.getpid())
    assert name is not None
    return name


def is_gone(name: str) -> bool | None:
    """Whether the process of that name has ended; None where it cannot be seen from here.

    That is one on another machine, or in another container, which may have the same host name.
    """
    machine, _, rest = name.partition("/")
    number = rest.split("/")[-2] if rest.count("/") == 2 else ""
    if machine != _machine() or not number.isdecimal():
        return None
    return _name(int(number)) != name


def _name(pid: int) -> str | None:
    """None where no process of this number is alive."""
    start = _start(pid)
    if start is None or born_at(pid) is None:
        return None
    boot, _, ticks = start.partition("/")
    return f"{_machine()}/{boot}/{pid}/{ticks}"


def _machine() -> str:
    namespace = pid_namespace()
    # Containers of two machines may have the same host name and the same number.
    return platform.node() if namespace is None else f"{platform.node()}@{_boot()}@{namespace}"


def _boot() -> str:
    return _BOOT_ID.read_text().strip() if _BOOT_ID.exists() else "-"


def _start(pid: int) -> str | None:
    """`<boot>/<ticks>` of the process that has the number, alive or not reaped; None where nobody has it."""
    try:
        if not _BOOT_ID.exists():  # such kernels keep the moment of the start itself, which no clock moves afterwards
            return f"-/{psutil.Process(pid).create_time():.1f}"
        # The command, in parentheses, may have anything in it.
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        return f"{_boot()}/{stat.rpartition(')')[2].split()[19]}"
    except (FileNotFoundError, ProcessLookupError, psutil.NoSuchProcess):
        return None
