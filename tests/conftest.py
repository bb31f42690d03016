from hypothesis import settings

# The first call of anything in torch is slow; time is measured in benchmarks, not here.
# The same examples every time: what fails for one fails for all.
settings.register_profile("netinvert", deadline=None, derandomize=True)
settings.load_profile("netinvert")
