"""Schedules that several tests play, and what must be true of what comes of them."""
