//! What stays and what goes. The bucket's bytes cost money and are somebody's
//! only copy, so the decision is a value that can be printed before anything
//! obeys it.

pub mod plan;
