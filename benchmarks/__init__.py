"""Benchmarks: accuracy, time and peak memory together, beside other programs, in one run.

Run them with ``make bench`` or ``python -m benchmarks [NAME ...]``. Each module ``bench_*.py`` has a ``main()`` that
prints one table. Timings are benchmarks, never tests: a busy machine makes them slow, not wrong.
"""
