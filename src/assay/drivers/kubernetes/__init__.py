"""Sandboxes as pods of a Kubernetes cluster, which places them on its nodes.

driver.py     the port's methods               pod.py         what Kubernetes is told, as data
pods.py       pods that somebody waits for     found.py       what it says, and what that means
departures.py who is on cordoned nodes         options.py     what an operator says of it
api.py        requests to it                   speech.py      its words for a byte stream
client.py     the one place of the library     kind.py        what such sandboxes are like
"""

from assay.drivers.kubernetes.driver import KubernetesDriver
from assay.drivers.kubernetes.options import Options, read_options

__all__ = ["KubernetesDriver", "Options", "read_options"]
