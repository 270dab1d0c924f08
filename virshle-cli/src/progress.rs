//! Progress bars for copies of disks and imports of images.

use std::collections::HashMap;
use std::io::{IsTerminal, stderr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use virshle_core::{CopyProgress, ImportProgress, ImportStep};

use crate::context::Context;

/// How long a copy takes before it gets a bar: the bar of a shorter one would only flicker.
const DELAY: Duration = Duration::from_millis(150);
/// How often the bars are drawn, per second.
const FRAMES: u8 = 10;

/// The progress bars of one command, on stderr; none if that is no terminal.
#[derive(Debug)]
pub(crate) struct Progress {
    bars: Option<MultiProgress>,
    copies: Mutex<HashMap<String, Copy>>,
}

#[derive(Debug)]
struct Copy {
    began: Instant,
    bar: Option<ProgressBar>,
}

impl Progress {
    pub(crate) fn new(context: &Context) -> Self {
        // Log messages would mix with the bars.
        let wanted = stderr().is_terminal() && !context.output.is_quiet() && context.verbose == 0;
        let target = || ProgressDrawTarget::stderr_with_hz(FRAMES);
        Self {
            bars: wanted.then(|| MultiProgress::with_draw_target(target())),
            copies: Mutex::default(),
        }
    }

    /// Advances the bar of one copy.
    pub(crate) fn show(&self, progress: &CopyProgress<'_>) {
        let prefix = format!("{} {}", progress.vm, progress.disk);
        self.advance(prefix, progress.done_bytes, Some(progress.total_bytes));
    }

    /// Advances the bar of one step of an import.
    pub(crate) fn show_import(&self, progress: &ImportProgress) {
        let prefix = match progress.step {
            ImportStep::Download => "download",
            ImportStep::Check => "check",
            _ => "convert",
        };
        self.advance(prefix.to_owned(), progress.done_bytes, progress.total_bytes);
    }

    /// Advances the bar of one step of a pull.
    pub(crate) fn show_pull(&self, image: &str, progress: &ImportProgress) {
        let prefix = match progress.step {
            ImportStep::Download => format!("download {image}"),
            ImportStep::Check => format!("check {image}"),
            _ => format!("convert {image}"),
        };
        self.advance(prefix, progress.done_bytes, progress.total_bytes);
    }

    /// Advances the bar of a file that is fetched.
    pub(crate) fn show_fetch(&self, name: &str, progress: &ImportProgress) {
        self.advance(name.to_owned(), progress.done_bytes, progress.total_bytes);
    }

    /// Advances a bar. The copying thread calls this, and never waits for a frame: the bar is drawn
    /// only if the last frame was long enough ago.
    fn advance(&self, prefix: String, done_bytes: u64, total_bytes: Option<u64>) {
        let Some(bars) = &self.bars else { return };
        let mut copies = self.copies.lock().unwrap_or_else(PoisonError::into_inner);
        let copy = copies
            .entry(prefix.clone())
            .or_insert_with(|| Copy { began: Instant::now(), bar: None });
        if copy.bar.is_none() && copy.began.elapsed() >= DELAY {
            let bar = bars.add(match total_bytes {
                Some(total_bytes) => ProgressBar::new(total_bytes).with_style(style()),
                None => ProgressBar::no_length().with_style(style_without_total()),
            });
            bar.set_prefix(prefix);
            copy.bar = Some(bar);
        }
        if let Some(bar) = &copy.bar {
            bar.set_position(done_bytes);
            if total_bytes.is_some_and(|total_bytes| done_bytes >= total_bytes) {
                bar.finish_and_clear();
            }
        }
    }

    /// Removes the bars.
    pub(crate) fn end(self) {
        if let Some(bars) = self.bars {
            // A terminal that can't be written to has no bars to remove.
            drop(bars.clear());
        }
    }
}

fn style() -> ProgressStyle {
    ProgressStyle::with_template(
        "{prefix} {wide_bar:.green} {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec} {eta}",
    )
    .unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// The style for an unknown total.
fn style_without_total() -> ProgressStyle {
    ProgressStyle::with_template("{prefix} {binary_bytes} {binary_bytes_per_sec}")
        .unwrap_or_else(|_| ProgressStyle::default_bar())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_template_of_the_bar_is_valid() {
        assert!(ProgressStyle::with_template("{prefix}").is_ok());
        drop(style());
    }
}
