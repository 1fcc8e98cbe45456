//! What should be there against what is: the catalog made anew from what a
//! store holds, and every store held against the catalog.

pub mod rebuild;
pub mod verify;
