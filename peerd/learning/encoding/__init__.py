"""How the values of a fragment travel: in how many bits, and whether all of them do.

One port and two families, `dense` and `sparse`; the encoding is part of the signed run spec, so all peers
of a run have the same. A fragment fills its packet, whatever the encoding: what an encoding saves is packets.
"""

from peerd.learning.encoding.dense import BFloat16, Float16, Float32, Int8
from peerd.learning.encoding.port import Encoding
from peerd.learning.encoding.sparse import RandomMask, TopK
from peerd.learning.fragment import data_room
from peerd.types import RunSpec

__all__ = ["BFloat16", "Encoding", "Float16", "Float32", "Int8", "RandomMask", "TopK", "make_encoding"]


def make_encoding(spec: RunSpec, payload_bytes: int) -> Encoding:
    """That of a run, for payloads of at most so many bytes."""
    room = data_room(payload_bytes)
    match spec.encoding:
        case "float32":
            return Float32(room)
        case "float16":
            return Float16(room)
        case "bfloat16":
            return BFloat16(room)
        case "int8":
            return Int8(room)
        case "top-k":
            return TopK(room, spec.density)
        case "random-mask":
            return RandomMask(room, spec.density)
