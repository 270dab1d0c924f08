//! The program `virshle`: `v` by its long name.

fn main() -> std::process::ExitCode {
    virshle_cli::main()
}
