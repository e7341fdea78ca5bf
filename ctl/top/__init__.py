"""`peerctl top`: samples of peers become rates, rates become rows, rows become a screen that keys steer.

All but `terminal` and `play` is plain: samples and keys go in, rows and renderables come out.
"""
