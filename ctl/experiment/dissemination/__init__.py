"""`peerctl experiment dissemination`: what a peer sends in a round, of networks of several sizes, with real
daemons.

    for each size: a testbed --> random-k, then broadcast --> Reading before and after --> Cost --> report
                                 (memory is looked at meanwhile)                           --> CSV, picture
"""
