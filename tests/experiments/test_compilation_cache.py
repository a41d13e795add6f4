"""A compiled program that a killed process left half-written does no lasting harm."""

import zlib

import jax

from experiments.tools.compilation_cache import drop_truncated, keep_compiled_programs


def test_truncated_entries_go_and_whole_ones_stay(tmp_path):
    whole = zlib.compress(bytes(range(256)) * 50)
    (tmp_path / "one-cache").write_bytes(whole)
    for name, part in (("cut", whole[:100]), ("empty", b"")):
        (tmp_path / f"{name}-cache").write_bytes(part)
    dropped = drop_truncated(tmp_path)
    assert sorted(path.name for path in dropped) == ["cut-cache", "empty-cache"]
    assert (tmp_path / "one-cache").read_bytes() == whole
    assert drop_truncated(tmp_path) == []


def test_an_entry_cut_after_the_last_look_is_found(tmp_path):
    drop_truncated(tmp_path)
    (tmp_path / "late-cache").write_bytes(zlib.compress(b"program" * 100)[:20])
    assert [path.name for path in drop_truncated(tmp_path)] == ["late-cache"]


def test_entries_as_jax_writes_them_are_whole(tmp_path):
    before = {
        name: getattr(jax.config, name)
        for name in ("jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs")
    }
    from jax.experimental.compilation_cache import compilation_cache

    try:
        jax.config.update("jax_compilation_cache_dir", str(tmp_path))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
        compilation_cache.reset_cache()
        jax.jit(lambda x: 3 * x + 1)(jax.numpy.arange(7.0)).block_until_ready()
    finally:
        for name, value in before.items():
            jax.config.update(name, value)
        compilation_cache.reset_cache()
    assert list(tmp_path.glob("*-cache"))
    assert drop_truncated(tmp_path) == []


def test_a_cache_directory_of_the_users_own_is_left_alone(tmp_path, monkeypatch):
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path))
    before = jax.config.jax_compilation_cache_dir
    keep_compiled_programs()
    assert jax.config.jax_compilation_cache_dir == before
