//! A POSIX tree in memory.
