//! Whether the nested host is emulated or runs on KVM.

use std::fs;
use std::io::Read;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use crate::image::Images;

/// How QEMU runs the nested host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Acceleration {
    /// In software, AMD's SVM included.
    Emulated,
    /// On this machine's KVM, which lets the nested host have KVM as well.
    Kvm,
}

impl Acceleration {
    /// KVM where it really works. A `/dev/kvm` proves nothing: it may be there and no vCPU ever get
    /// anywhere, so the small guest has to come up on it first.
    pub(crate) fn detect(images: &Images) -> Self {
        let nests = ["kvm_amd", "kvm_intel"].iter().any(|module| {
            fs::read_to_string(format!("/sys/module/{module}/parameters/nested"))
                .is_ok_and(|value| matches!(value.trim(), "1" | "Y"))
        });
        if nests && comes_up(images) { Self::Kvm } else { Self::Emulated }
    }

    /// QEMU's arguments for it. `la57`: Linux as a guest of KVM on an emulated processor does not
    /// come up with five levels. The large translation buffer keeps a whole host in it.
    pub(crate) fn arguments(self) -> [&'static str; 4] {
        match self {
            Self::Emulated => {
                ["-accel", "tcg,thread=multi,tb-size=1024", "-cpu", "max,+svm,la57=off"]
            }
            Self::Kvm => ["-accel", "kvm", "-cpu", "host"],
        }
    }
}

/// Whether the small guest says that it is ready.
fn comes_up(images: &Images) -> bool {
    let child = Command::new("setpriv")
        .args(["--pdeathsig", "KILL"])
        .arg(&images.qemu)
        .args(["-machine", "q35", "-m", "256M"])
        .args(Acceleration::Kvm.arguments())
        .args(["-nodefaults", "-display", "none", "-vga", "none", "-no-reboot"])
        .args(["-chardev", "stdio,id=serial,signal=off", "-serial", "chardev:serial"])
        .arg("-kernel")
        .arg(images.kernel.join("vmlinuz"))
        .arg("-initrd")
        .arg(images.tiny.join("tiny.img"))
        .args(["-append", "console=ttyS0 quiet panic=-1"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    let Ok(mut child) = child else { return false };
    let (sender, receiver) = mpsc::channel();
    if let Some(mut output) = child.stdout.take() {
        std::thread::spawn(move || {
            let mut said = Vec::new();
            let mut bytes = [0; 1024];
            while let Ok(count @ 1..) = output.read(&mut bytes) {
                said.extend_from_slice(&bytes[..count]);
                if String::from_utf8_lossy(&said).contains("tiny: READY") {
                    sender.send(()).ok(); // Nothing waits any more after the deadline.
                    return;
                }
            }
        });
    }
    let ready = receiver.recv_timeout(Duration::from_secs(20)).is_ok();
    drop(child.kill()); // It may have ended by itself.
    drop(child.wait());
    ready
}
