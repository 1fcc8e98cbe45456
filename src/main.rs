//! The `walkeep` program.

fn main() {}
