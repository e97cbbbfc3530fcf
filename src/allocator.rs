//! Settings of the C library's allocator, which serves this library and RocksDB.

/// Lets all threads of the process take memory from so many arenas; has an effect only with the GNU C library.
///
/// By default each thread gets its own (mallopt(3), `M_ARENA_MAX`). What one thread allocates and another one
/// frees, as a worker and the driver of a backup do, then leaves holes in every arena.
#[allow(unsafe_code, reason = "the only way to set it")]
pub fn set_arena_count_max(count: u8) {
    #[cfg(target_env = "gnu")]
    {
        // SAFETY: `mallopt` takes numbers only, and takes them at any time.
        let is_set = unsafe { libc::mallopt(libc::M_ARENA_MAX, count.into()) };
        if is_set == 0 {
            log::debug!("the allocator keeps an arena for each thread");
        }
    }
    #[cfg(not(target_env = "gnu"))]
    let _unused = count;
}
