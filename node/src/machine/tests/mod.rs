//! The machine from outside: inputs go in, actions are answered, reports are read. Nothing here waits.

mod flow;
mod halts;
mod health;
mod holds;
mod own;
mod property;
mod retries;
mod rig;
mod rollback;
mod story;
mod trouble;
mod versions;
mod windows;
