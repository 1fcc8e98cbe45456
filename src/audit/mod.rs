//! What should be there against what is: here, the catalog made anew from
//! what a store holds.

pub mod rebuild;
