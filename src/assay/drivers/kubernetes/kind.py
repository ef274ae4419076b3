"""What sandboxes are like that are pods, as data."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from assay.driver.port import Capabilities
from assay.drivers.kubernetes.options import Options
from assay.drivers.linux.container import ABLE as OF_CONTAINERS

_ABLE: Final = replace(OF_CONTAINERS, masks=False, inode_limit=False, own_terminals=False)
"""Kubernetes can't be told what to mask, and its folders in memory and its terminals have no limit
of how many there are."""


def able(options: Options) -> Capabilities:
    """What can be done as the operator has said.

    A kubelet's limit of processes is not the sandbox's. With users of its own, the kernel counts
    its learner's processes; without, those of all sandboxes of a node together. But there nobody
    can make devices, so they are the node's.
    """
    own = options.user_namespaces
    return replace(_ABLE, process_limit=own, own_users=own, own_devices=not own)
