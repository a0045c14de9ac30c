//! `wardround` for the machine of a site: `wardround node …` and nothing else, in a program a third as large. Packages install
//! it as `wardround` (`packaging/`).

#[global_allocator]
static ALLOCATOR: wardround::Allocator = wardround::Allocator;

fn main() -> std::process::ExitCode {
    wardround::site_main()
}
