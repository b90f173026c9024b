"""Sizes of virtual machines that the region offers.

GPUs, cores, memory and temporary disk: https://learn.microsoft.com/azure/virtual-machines/sizes/overview. The NC, NCv3
and NDv2 series are retired; they are here because notebooks and allow-lists still name them.
"""

from typing import Any, NamedTuple


class VmSize(NamedTuple):
    """One size; memory in GB, temporary disk in GiB."""

    name: str
    family: str
    gpus: int
    cores: int
    memory: float
    disk: int
    premium: bool = True

    def document(self) -> dict[str, Any]:
        """As the service lists it."""
        return {
            "name": self.name,
            "family": self.family,
            "vCPUs": self.cores,
            "gpus": self.gpus,
            "osVhdSizeMB": 1047552,
            "maxResourceVolumeMB": self.disk * 1024,
            "memoryGB": self.memory,
            "lowPriorityCapable": True,
            "premiumIO": self.premium,
            "estimatedVMPrices": None,
            "supportedComputeTypes": ["AmlCompute", "ComputeInstance"],
        }


_SIZES = (
    VmSize("Standard_DS2_v2", "standardDSv2Family", 0, 2, 7, 14),
    VmSize("Standard_DS3_v2", "standardDSv2Family", 0, 4, 14, 28),
    VmSize("Standard_DS4_v2", "standardDSv2Family", 0, 8, 28, 56),
    VmSize("Standard_DS11_v2", "standardDSv2Family", 0, 2, 14, 28),
    VmSize("Standard_DS12_v2", "standardDSv2Family", 0, 4, 28, 56),
    VmSize("Standard_D4s_v3", "standardDSv3Family", 0, 4, 16, 32),
    VmSize("Standard_E4s_v3", "standardESv3Family", 0, 4, 32, 64),
    VmSize("Standard_F4s_v2", "standardFSv2Family", 0, 4, 8, 32),
    VmSize("Standard_NC6", "standardNCFamily", 1, 6, 56, 340, premium=False),
    VmSize("Standard_NC12", "standardNCFamily", 2, 12, 112, 680, premium=False),
    VmSize("Standard_NC24", "standardNCFamily", 4, 24, 224, 1440, premium=False),
    VmSize("Standard_NC24r", "standardNCFamily", 4, 24, 224, 1440, premium=False),
    VmSize("Standard_NC6s_v3", "standardNCSv3Family", 1, 6, 112, 736),
    VmSize("Standard_NC12s_v3", "standardNCSv3Family", 2, 12, 224, 1474),
    VmSize("Standard_NC24s_v3", "standardNCSv3Family", 4, 24, 448, 2948),
    VmSize("Standard_NC24rs_v3", "standardNCSv3Family", 4, 24, 448, 2948),
    VmSize("Standard_NC4as_T4_v3", "standardNCASv3_T4Family", 1, 4, 28, 176),
    VmSize("Standard_NC8as_T4_v3", "standardNCASv3_T4Family", 1, 8, 56, 352),
    VmSize("Standard_NC16as_T4_v3", "standardNCASv3_T4Family", 1, 16, 110, 352),
    VmSize("Standard_NC64as_T4_v3", "standardNCASv3_T4Family", 4, 64, 440, 2816),
    VmSize("Standard_NC24ads_A100_v4", "standardNCADSA100v4Family", 1, 24, 220, 64),
    VmSize("Standard_NC48ads_A100_v4", "standardNCADSA100v4Family", 2, 48, 440, 128),
    VmSize("Standard_NC96ads_A100_v4", "standardNCADSA100v4Family", 4, 96, 880, 256),
    VmSize("Standard_ND40rs_v2", "standardNDSv2Family", 8, 40, 672, 2948),
    VmSize("Standard_ND96asr_v4", "standardNDASv4_A100Family", 8, 96, 900, 6000),
    VmSize("Standard_ND96amsr_A100_v4", "standardNDAMSv4_A100Family", 8, 96, 1900, 6400),
    VmSize("Standard_NC40ads_H100_v5", "standardNCADSH100v5Family", 1, 40, 320, 128),
    VmSize("Standard_NC80adis_H100_v5", "standardNCADSH100v5Family", 2, 80, 640, 256),
    VmSize("Standard_ND96isr_H100_v5", "standardNDSH100v5Family", 8, 96, 1900, 1000),
)

VM_SIZES = {size.name.lower(): size for size in _SIZES}
"""By lower-cased name: the service ignores the case of size names."""
