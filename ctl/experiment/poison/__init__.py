"""`peerctl experiment poison`: what false updates do to a run under each aggregator, with real daemons.

    runs, one for each aggregator and attack --> series --> report (JSON, table)

The poisoners are honest daemons with a dishonest task, `peerd.training.poisoned`.
"""
