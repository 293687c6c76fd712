//! Real proxies, and connections through them.

pub mod proxied;
pub mod proxy;
