//! The payload: what a machine boots.

use std::path::PathBuf;

use serde::Serialize;

use crate::section::{Placed, Section};

/// What a machine boots.
///
/// Exhaustive on purpose: who converts it must decide what becomes of a new kind, so adding one is
/// a breaking change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Boot {
    /// A firmware; the node's own if none is named.
    Firmware(Option<PathBuf>),
    /// A kernel, loaded directly.
    Kernel {
        /// The kernel.
        kernel: PathBuf,
        /// Its initial file system.
        initramfs: Option<PathBuf>,
        /// Its command line: printable ASCII, at most 2048 bytes.
        cmdline: Option<String>,
    },
}

/// The longest command line, in bytes: `COMMAND_LINE_SIZE` of Linux on both architectures.
const MAX_CMDLINE: usize = 2048;

impl Boot {
    pub(crate) fn read(template: &Section<'_>) -> Self {
        let firmware = template.path("firmware");
        let kernel = template.path("kernel");
        let initramfs = template.path("initramfs");
        let cmdline = template.string("cmdline");
        if let Some(cmdline) = &cmdline {
            check(template, cmdline);
        }
        if template.has("kernel") {
            if template.has("firmware") {
                template.wrong(
                    template.span_of("firmware"),
                    "a machine boots a firmware or a kernel, not both",
                    "leave firmware or kernel away",
                );
            }
        } else {
            for key in ["initramfs", "cmdline"] {
                if template.has(key) {
                    let message = format!("{key:?} is for a kernel, and none is named");
                    let help = "add kernel = \"…\", or leave it away";
                    template.source.lacks(template.span_of(key), message, help);
                }
            }
        }
        match kernel {
            Some(kernel) => {
                let cmdline = cmdline.map(|cmdline| cmdline.value.to_owned());
                Self::Kernel { kernel, initramfs, cmdline }
            }
            None => Self::Firmware(firmware),
        }
    }
}

fn check(template: &Section<'_>, cmdline: &Placed<&str>) {
    let odd = cmdline.value.chars().find(|character| !matches!(character, ' '..='~'));
    if let Some(odd) = odd {
        let message = format!("the kernel's command line has {odd:?}");
        template.wrong(
            cmdline.span.clone(),
            message,
            "expected letters, digits and signs of ASCII",
        );
    } else if cmdline.value.len() > MAX_CMDLINE {
        let message = format!("the kernel's command line has {} bytes", cmdline.value.len());
        let help = format!("expected at most {MAX_CMDLINE} bytes");
        template.wrong(cmdline.span.clone(), message, &help);
    }
}

#[cfg(test)]
mod tests {
    use super::Boot;
    use crate::testing::{mistakes, read};

    #[test]
    fn a_firmware_is_booted_unless_a_kernel_is_named() {
        let boot = |text| read(text, |section| Some(Boot::read(section)));
        assert_eq!(boot(""), Some(Boot::Firmware(None)));
        assert_eq!(boot("firmware = '/f'"), Some(Boot::Firmware(Some("/f".into()))));
        let kernel = boot("kernel = '~/k'\ninitramfs = 'i'\ncmdline = 'quiet'");
        let expected = Boot::Kernel {
            kernel: "/home/a/k".into(),
            initramfs: Some("/etc/virshle/i".into()),
            cmdline: Some("quiet".into()),
        };
        assert_eq!(kernel, Some(expected));
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        let long = format!("kernel = 'k'\ncmdline = '{}'", "x".repeat(2049));
        for (text, message) in [
            ("firmware = 'f'\nkernel = 'k'", "a machine boots a firmware or a kernel, not both"),
            ("cmdline = 'quiet'", "\"cmdline\" is for a kernel, and none is named"),
            ("firmware = 'f'\ninitramfs = 'i'", "\"initramfs\" is for a kernel, and none is named"),
            ("kernel = ''", "\"\" is no path: it is empty"),
            ("kernel = 'k'\ncmdline = \"a\\nb\"", "the kernel's command line has '\\n'"),
            (&long, "the kernel's command line has 2049 bytes"),
        ] {
            let found = mistakes(text, |section| Some(Boot::read(section)));
            assert_eq!(found, [message], "{text}");
        }
    }
}
