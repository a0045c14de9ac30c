//! `wardround` for the machine of a site: `wardround node …`, and nothing of the controller. Packages install it as `wardround`
//! (`packaging/`).

#[global_allocator]
static ALLOCATOR: wardround::Allocator = wardround::Allocator;

fn main() -> std::process::ExitCode {
    wardround::site_main()
}
