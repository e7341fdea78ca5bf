"""What the daemon's alarms mean, and what to do."""

from __future__ import annotations

ALARMS = {
    "direct": "DIRECT MODE: no mixnet, NO ANONYMITY (peerctl mix set --direct off)",
    "tracing": "TRACING: every packet's way is written down, NO ANONYMITY ([trace] file)",
    "blending": "BLENDING: loop cover does not come back (peerctl mix show)",
    "disk": "DISK: state cannot be written, so a restart would lose it; relaying goes on (free some space)",
    "clock": "CLOCK: this peer's and the others' differ too much (peerctl peers -o json; set the clock)",
    "identity": "IDENTITY: a second daemon runs with this peer's keys (peerctl events); end one of the two",
    "model": "MODEL: a task's code makes another model on some host (peerctl events); it is left out",
    "paths": "PATHS: too few peers are alive for a path: own messages wait (peerctl peers; bring them back)",
}
