"""`peerctl experiment attack`: how much anonymity is left against somebody who sees every link.

    workload -> records -> Observation -> adversary -> posteriors -+-> scores -> report, CSV, plot
                      \\-> Truth -> challenges -----------------------/

What peers that come and go cost a run is measured in `churn/`, what it puts on the wire in `encodings/`, and
what false updates do to it in `poison/`; these two play a `series` of runs.

The adversaries (`adversaries.py` and below) are given an `Observation`, what is public, and of their own
nodes the truth. The whole `Truth` only reaches the scores.
"""
