"""`peerctl doctor`: what is asked (`asking`), what is looked at on this host (`host`, `state_dir`), and what
follows from the answers (`peers`, which is given them and asks nobody)."""
