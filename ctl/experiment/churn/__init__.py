"""`peerctl experiment churn`: what peers that come and go cost a run, with real daemons.

    calm run -------------------------> Record --+
    churn run, by a schedule, live ---> Record --+--> figures --> report (JSON, table)
                                          |
                                          +--> curves --> CSV, picture

`stage` brings daemons up and ends them. Everything else only reads what the daemons said.
"""
