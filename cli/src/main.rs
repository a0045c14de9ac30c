//! `wardround`: see the library of the same name.

#[global_allocator]
static ALLOCATOR: wardround::Allocator = wardround::Allocator;

fn main() -> std::process::ExitCode {
    wardround::main()
}
