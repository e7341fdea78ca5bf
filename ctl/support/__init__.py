"""`peerctl support-bundle`: what peers say of themselves (`parts`), without what must not leave the hosts
(`redaction`), in one archive that says what is in it (`archive`)."""
