"""How a newcomer joins without the authority at hand: a delegate makes a join token, and signs in who has it.

The token is a secret for one newcomer. It names the delegate's address and pins its key, so that the newcomer
sends it to nobody else. The delegate's link key signs the newcomer's link certificate; everybody follows the
chain to the authority, which has certified the delegate. The newcomer's private keys never leave it.
"""

from peerd.enrolment.client import redeem
from peerd.enrolment.redeemer import Redeemer
from peerd.enrolment.server import EnrolmentServer
from peerd.enrolment.tokens import Token, Tokens, parse_token

__all__ = ["EnrolmentServer", "Redeemer", "Token", "Tokens", "parse_token", "redeem"]
