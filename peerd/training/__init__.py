"""Training: the child process in which a peer's model is trained on the peer's own data.

It knows nothing of the network: a run spec and a share of the data come in, model vectors go in and out
through shared memory. The daemon's side is `peerd.learning.trainer_client`; what both say is
`peerd.trainerproto`. Started as `python -m peerd.training`.

What a host's own task needs is here and, for a model of torch, in `peerd.training.torchtask`: this process
imports torch or scikit-learn only when its task does.
"""

from peerd.training.task import Host, Learner, Outcome, Samples, Share, Task

__all__ = ["Host", "Learner", "Outcome", "Samples", "Share", "Task"]
