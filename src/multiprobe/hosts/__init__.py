"""The same measurement on many hosts, by Dask's distributed: what workers run, and who asks them."""
