"""Several servers of one database: who lives, and who has what a silent one had.

view.py         who lives and who is silent: pure functions of what the database says
membership.py   the heartbeat, and taking over
events.py       what happens
"""

from assay.cluster.events import Event, ServersChanged, TookOver
from assay.cluster.membership import Membership
from assay.cluster.view import View

__all__ = ["Event", "Membership", "ServersChanged", "TookOver", "View"]
