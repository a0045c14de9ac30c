//! `wardround`: see the library of the same name.

use mimalloc::MiMalloc;

/// What the controller folds and reads is made of small pieces (docs/decisions/2026-11-replay.md has what it brings).
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> std::process::ExitCode {
    wardround::main()
}
