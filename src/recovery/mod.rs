//! The way back: which backup, which WAL, and whether the target can be
//! reached at all, settled before a disk is touched.

pub mod plan;
