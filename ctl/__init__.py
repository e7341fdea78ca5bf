"""peerctl: the command line of peerd.

What belongs here: turning a command into calls of the control API and its answers into tables or
JSON; the offline commands of a network's authority; testbeds of real daemons on this machine.
What does not: anything that a daemon decides. Of `peerd` this package imports the generated stubs,
floor 0 (errors, types, config) and `peerd.membership` for the authority.

    main -> cli -> commands/<noun> -> targets -> fanout -> client -> (gRPC)
                                   -> testbed/  (processes)   demo/ (a testbed, one run, one summary)
"""
