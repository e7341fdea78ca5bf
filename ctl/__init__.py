"""peerctl: the command line of peerd."""
