//! The keywords of the configuration for what a template has.

use virshle_core::template::{CloneMode, NetKind};

/// The keyword for a kind of network interface.
pub(super) fn net_kind(kind: NetKind) -> &'static str {
    match kind {
        NetKind::User => "user",
        NetKind::Vhost => "vhost",
        NetKind::Tap => "tap",
        NetKind::Bridge => "bridge",
        NetKind::Macvtap => "macvtap",
    }
}

/// The keyword for a way of copying an image.
pub(super) fn clone_mode(mode: CloneMode) -> &'static str {
    match mode {
        CloneMode::Auto => "auto",
        CloneMode::Reflink => "reflink",
        CloneMode::Copy => "copy",
        CloneMode::Overlay => "overlay",
    }
}
