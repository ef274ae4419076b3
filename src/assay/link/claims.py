"""Whose sandboxes are whose on a node: what a server says of itself there, and what is kept of it.

A server that is alone is told from others by the name in its certificate, its machine and its state
folder. Servers of one database have a key in common, and come from many machines with certificates
of many names; what they show to a node is made of the key and of that node's name, so that no node
learns what opens anything on another one. A node keeps the hash alone.
"""

from __future__ import annotations

import hashlib
import hmac

from assay.driver.port import Secret


def claim_of(key: Secret, node: str) -> str:
    """What the servers that have a key show to the node whose certificate has this name."""
    return hmac.digest(key.reveal(), f"node\0{node}".encode(), "sha256").hex()


def owner_of(name: str, scope: str, claim: str = "") -> str:
    """What somebody's sandboxes are kept under: theirs who show this claim, or else of the server
    with this name in its certificate, and this scope.
    """
    text = f"claim\0{claim}" if claim else f"{name}\0{scope}"
    return hashlib.sha256(text.encode()).hexdigest()[:16]
