"""Benchmarks of reelfs against native ext4 and other backup programs; see ../README.md."""
