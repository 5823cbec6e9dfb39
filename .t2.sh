export T=-p\ no:cacheprovider\ -p\ no:hypothesispytest
.venv/bin/python -m pytest $T tests/kernel/test_trace.py -q --tb=short 2>&1 | cut -c1-300 | tail -60
dmesg | tail -30
.venv/bin/python -m pytest $T tests/kernel/test_objects.py -q --tb=short 2>&1 | cut -c1-300 | tail -60
