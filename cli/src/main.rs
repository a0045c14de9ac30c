//! wardround
fn main() {}
