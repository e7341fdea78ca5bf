"""`peerctl experiment encodings`: what a run costs on the wire in each encoding, with real daemons.

one run, six encodings --> series --> report (JSON, table), picture
"""
