from hypothesis import settings

# The first call of anything in torch is slow; time is measured in benchmarks, not here.
settings.register_profile("netinvert", deadline=None)
settings.load_profile("netinvert")
