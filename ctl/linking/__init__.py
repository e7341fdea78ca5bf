"""`peerctl experiment linking`: which anonymous fragments a curious recipient can tell to be of one sender.

    learners (child process) <-> play -> hauls -> residuals, features -> attacks -+-> figures -> report, plot
                                   \\-> truth ------------------------------------/

`play` runs the peers' own cores (rounds, models, encoding, dealing) in step. What each peer received, without
any sender, is its `Haul`; who sent what is the `Truth`, which only counts how often an attack was right.
"""
