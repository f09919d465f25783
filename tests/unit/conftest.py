"""Hypothesis without deadlines: a busy machine is no failure.

Nor is its first text, for which it reads the tables of Unicode: that takes seconds there.
"""

from hypothesis import HealthCheck, settings

settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")
