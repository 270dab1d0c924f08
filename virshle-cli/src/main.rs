//! The program `v`.

fn main() -> std::process::ExitCode {
    virshle_cli::main()
}
