"""PostgreSQL's settings on small and large machines."""

import pytest

from local.postgres.tuning import MB, max_wal_size, shared_buffers


@pytest.mark.parametrize(("memory", "expected"), [(256, 48), (960, 60), (65536, 64)])
def test_the_cache_is_a_part_of_the_memory_within_bounds(memory: int, expected: int) -> None:
    """In megabytes."""
    assert shared_buffers(memory * MB) == expected * MB


@pytest.mark.parametrize(("free", "expected"), [(0, 128), (4096, 1024), (100_000, 2048)])
def test_the_log_does_not_fill_a_small_disk(free: int, expected: int) -> None:
    """In megabytes."""
    assert max_wal_size(free * MB) == expected * MB
