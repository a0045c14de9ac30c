//! The machine from outside: inputs go in, actions are answered, reports are read. Nothing here waits.

mod flow;
mod halts;
mod health;
mod property;
mod rig;
mod rollback;
mod story;
mod versions;
mod windows;
