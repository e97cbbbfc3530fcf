//! How RocksDB lays out and caches its tables.

use rocksdb::{BlockBasedIndexType, BlockBasedOptions, Cache};

/// Tables of which any number fits a cache of a few MiB. Their indexes and filters are in parts of a block each: one
/// that is whole is as long as half a MiB for 400 000 rows, more than a part of the cache may hold, and would be
/// read from the disk for every row that is looked for.
pub(super) fn layout(cache_bytes: usize) -> BlockBasedOptions {
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(&Cache::new_lru_cache(cache_bytes));
    table.set_bloom_filter(10.0, false);
    table.set_index_type(BlockBasedIndexType::TwoLevelIndexSearch);
    table.set_partition_filters(true);
    table.set_cache_index_and_filter_blocks(true);
    table
}

#[cfg(test)]
mod test {
    use rocksdb::perf::{PerfContext, PerfMetric, PerfStatsLevel, set_perf_stats};
    use rocksdb::{DB, Options, WriteBatch};

    use super::*;

    const ROWS: u64 = 600_000;
    const LOOKUPS: u64 = 500;

    // Spread over all keys, one after the other far apart.
    fn key(number: u64) -> [u8; 8] {
        number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes()
    }

    #[test]
    fn a_row_of_a_long_table_is_found_by_reading_a_few_blocks() {
        let place = tempfile::tempdir().expect("a directory");
        let mut options = Options::default();
        options.create_if_missing(true);
        options.set_block_based_table_factory(&layout(2 << 20));
        let db = DB::open(&options, place.path()).expect("opens");
        for first in (0..ROWS).step_by(10_000) {
            let mut batch = WriteBatch::default();
            (first..first + 10_000).for_each(|number| batch.put(key(number), "the value of a row"));
            db.write(batch).expect("writes");
        }
        db.flush().expect("writes");
        db.compact_range(None::<&[u8]>, None::<&[u8]>);
        set_perf_stats(PerfStatsLevel::EnableCount);
        let mut counts = PerfContext::default();
        counts.reset();
        for number in (0..ROWS).step_by((ROWS / LOOKUPS) as usize) {
            assert!(db.get_pinned(key(number)).expect("reads").is_some());
            assert!(db.get_pinned(key(ROWS + number)).expect("reads").is_none());
        }
        let per_lookup = counts.metric(PerfMetric::BlockReadByte) / (2 * LOOKUPS);
        set_perf_stats(PerfStatsLevel::Disable);
        assert!((1..20_000).contains(&per_lookup), "{per_lookup} bytes for each row that was looked for");
    }
}
