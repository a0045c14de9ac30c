//! The program itself, built with the tests, so that they never meet a stale one.

#[global_allocator]
static ALLOCATOR: wardround::Allocator = wardround::Allocator;

fn main() -> std::process::ExitCode {
    wardround::main()
}
