//! Writes a guest of a few bytes for the demo: `test-kernel halt|obeys|power-off|floods|echoes FILE`.

use std::process::ExitCode;

use virshle_testkit::TestKernel;

#[expect(clippy::print_stderr, reason = "a program of the tests")]
fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let kernel = match arguments.first().map(String::as_str) {
        Some("halt") => TestKernel::halt(),
        Some("obeys") => TestKernel::obeys(),
        Some("power-off") => TestKernel::power_off(),
        Some("floods") => TestKernel::floods("0123456789abcdef0123456789abcdef\r\n"),
        Some("echoes") => TestKernel::echoes("welcome\r\n"),
        _ => {
            eprintln!("usage: test-kernel halt|obeys|power-off|floods|echoes FILE");
            return ExitCode::from(2);
        }
    };
    let Some(path) = arguments.get(1) else {
        eprintln!("usage: test-kernel halt|obeys|power-off|floods|echoes FILE");
        return ExitCode::from(2);
    };
    match std::fs::write(path, kernel.to_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{path}: {error}");
            ExitCode::FAILURE
        }
    }
}
