//! What an agent ought to say, and scenarios that hold it to that.

pub mod crowd;
pub mod endings;
pub mod expect;
pub mod round;
pub mod scene;
pub mod stand;
pub mod table;
pub mod trial;
pub mod truth;
pub mod views;
