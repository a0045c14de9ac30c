//! Model checking: the production machines, explored over every order of what may happen to them.

pub(crate) mod engine;
pub(crate) mod engine_rules;
pub(crate) mod explore;
pub(crate) mod fold;
pub(crate) mod mistakes;
