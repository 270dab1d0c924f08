//! The program `virshle`: the long name of `v`.

fn main() -> std::process::ExitCode {
    virshle_cli::main()
}
