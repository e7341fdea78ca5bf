"""The relay: what a packet goes through between the link it came by and the link it leaves by.

`Mixnet` is the sans-IO core that joins the Sphinx layer, the replay filter, the mixing strategy, cover
and delivery; `Pump` is the asyncio shell that drives it.
"""

from peerd.relay.mixnet import Mixnet
from peerd.relay.pump import Pump

__all__ = ["Mixnet", "Pump"]
