//! Puts the caller's terminal in raw mode, and restores it.

use std::io;
use std::sync::{Arc, Mutex};

use rustix::termios::{OptionalActions, Termios, isatty, tcgetattr, tcsetattr};

/// The terminal on the standard input, raw until this is dropped.
#[derive(Debug)]
#[must_use = "the terminal is restored when this is dropped"]
pub(crate) struct RawTerminal {
    before: Arc<Mutex<Option<Termios>>>,
}

impl RawTerminal {
    /// Enters raw mode; `None` if the standard input is no terminal.
    pub(crate) fn enter() -> io::Result<Option<Self>> {
        let input = io::stdin();
        if !isatty(&input) {
            return Ok(None);
        }
        let settings = tcgetattr(&input)?;
        let before = Arc::new(Mutex::new(Some(settings.clone())));
        // A panic ends the release build without dropping anything.
        let (saved, hook) = (Arc::clone(&before), std::panic::take_hook());
        std::panic::set_hook(Box::new(move |panic| {
            restore(&saved);
            hook(panic);
        }));
        let mut raw = settings;
        raw.make_raw();
        tcsetattr(&input, OptionalActions::Now, &raw)?;
        Ok(Some(Self { before }))
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        restore(&self.before);
    }
}

fn restore(before: &Mutex<Option<Termios>>) {
    let before = before.lock().ok().and_then(|mut before| before.take());
    if let Some(settings) = before {
        // What was typed and not read is not for the shell: a terminal's answer to a guest, above all. A
        // terminal that is gone needs no restoring.
        tcsetattr(io::stdin(), OptionalActions::Flush, &settings).unwrap_or_default();
    }
}
