//! Prints log messages on stderr.

use tracing::level_filters::LevelFilter;

/// Starts logging on stderr: warnings, more with each `-v`, only errors with `-q`.
///
/// The help of `-v` lists what each level shows.
pub(crate) fn start(verbose: u8, quiet: bool) {
    let level = match (quiet, verbose) {
        (true, _) => LevelFilter::ERROR,
        (false, 0) => LevelFilter::WARN,
        (false, 1) => LevelFilter::INFO,
        (false, 2) => LevelFilter::DEBUG,
        (false, _) => LevelFilter::TRACE,
    };
    tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(std::io::stderr)
        .with_target(level >= LevelFilter::DEBUG)
        .without_time()
        .init();
}
