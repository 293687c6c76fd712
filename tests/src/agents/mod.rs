//! The agent under test: started, listened to, and looked at from outside.

pub mod agent;
pub mod kernel;
pub mod maps;
pub mod privileges;
pub mod ptrace;
pub mod record;
pub mod site;
pub mod status;
pub mod tracing;
