//! Where agents come from.

pub mod local;
