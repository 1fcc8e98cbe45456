//! What stays and what goes. The bucket's bytes cost money and are somebody's
//! only copy, so the decision is a value that can be printed before anything
//! obeys it.
//!
//! ```text
//! gather   everything that every store holds, as values
//! plan     pure: what may go, in which order, and why
//! delete   obeys
//! ```

pub mod delete;
pub mod gather;
pub mod plan;
