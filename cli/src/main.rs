//! `wardround`: see the library of the same name.

use mimalloc::MiMalloc;

/// What the controller folds and reads is made of small pieces: a start and a forecast take a third less with it.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> std::process::ExitCode {
    wardround::main()
}
