"""Training: the child process in which a peer's model is trained on the peer's own data.

The only place that imports torch. It knows nothing of the network: a run spec and a share of the data come
in, model vectors go in and out through shared memory. The daemon's side is `peerd.learning.trainer_client`;
what both say is `peerd.trainerproto`. Started as `python -m peerd.training`; nothing to import from here.
"""
