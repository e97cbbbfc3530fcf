//! How RocksDB keeps the rows.

use rocksdb::{DBRecoveryMode, Options};

use crate::index::tables;

const CACHE_BYTES: usize = 8 << 20;
const WRITE_BUFFER_BYTES: usize = 8 << 20;

/// Settings of a database of rows; one that was closed has all of its log.
pub(super) fn settings(was_closed: bool) -> Options {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.set_paranoid_checks(true);
    options.set_wal_recovery_mode(match was_closed {
        true => DBRecoveryMode::AbsoluteConsistency,
        // Whole batches up to the first damage: what was synced is before it.
        false => DBRecoveryMode::PointInTime,
    });
    options.set_max_open_files(64);
    options.set_keep_log_file_num(2);
    options.set_max_total_wal_size(32 << 20);
    options.set_max_background_jobs(2);
    options.set_write_buffer_size(WRITE_BUFFER_BYTES);
    options.set_max_write_buffer_number(3);
    options.set_memtable_whole_key_filtering(true);
    options.set_memtable_prefix_bloom_ratio(0.05);
    options.set_block_based_table_factory(&tables::layout(CACHE_BYTES));
    options
}
