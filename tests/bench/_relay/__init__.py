"""What `tests/bench/relay.py` and `tests/wire/test_overload.py` share: one relay, and its load."""
