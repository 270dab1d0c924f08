//! What to do about an error of the node, as this command words it.

use std::io::ErrorKind;

use virshle_core::disk::DiskError;
use virshle_core::template::TemplateError;
use virshle_core::{CoreError, DownloadError, ImageError, ImportSource, Remedy};

/// The suggested next step for `error`, if there is one.
pub(crate) fn hint(error: &CoreError) -> Option<String> {
    match error {
        CoreError::Image(error) => image_hint(error).or_else(|| error.hint()),
        CoreError::Template(error) => template_hint(error).or_else(|| error.hint()),
        error => error.remedy().as_ref().map(wording),
    }
}

/// A remedy as this command words it.
pub(crate) fn wording(remedy: &Remedy) -> String {
    match remedy {
        Remedy::StartVm { vm } => format!("v vm start {vm}"),
        Remedy::StopVm { vm, force: false } => format!("v vm stop {vm}"),
        Remedy::StopVm { vm, force: true } => format!("v vm stop --force {vm}"),
        Remedy::OrByForce { vm, verb, paused } => {
            let first = if *paused { "resume" } else { "stop" };
            let verb = if *verb == "remove" { "rm" } else { verb };
            format!("v vm {first} {vm}; or `v vm {verb} --force {vm}`, which cuts the power")
        }
        Remedy::CutPower { vm } => format!(
            "the guest may ignore its power button; `v vm stop --force {vm}` cuts the power"
        ),
        Remedy::ResumeVm { vm } => format!("v vm resume {vm}"),
        Remedy::RestartForConsole { vm } => format!("`v vm restart {vm}` gives it one"),
        Remedy::ReadLogs { vm } => format!("`v vm logs {vm}` shows how far it got"),
        Remedy::ListVms { nearest: Some(name) } => {
            format!("did you mean {name:?}? `v vm ls` lists all machines")
        }
        Remedy::ListVms { nearest: None } => "`v vm ls` lists all machines".into(),
        Remedy::ListTemplates { nearest: Some(name) } => {
            format!("did you mean {name:?}? `v template ls` lists all templates")
        }
        Remedy::ListTemplates { nearest: None } => "`v template ls` lists all templates".into(),
        Remedy::CreateVm => {
            "there are no machines yet: `v vm create -t TEMPLATE` creates one".into()
        }
        Remedy::NameExactly => "use the id, or --name or --uuid".into(),
        Remedy::ChooseVmName => "choose another name, or omit --name".into(),
        Remedy::InitNode => "v node init".into(),
        Remedy::SetUpHost => "v node setup".into(),
        Remedy::CheckTemplates => "v template check".into(),
        Remedy::RepairNode => "`v node check --repair` tries again".into(),
        Remedy::ShortenRoot => {
            "choose a shorter root with --root or [node] root, or a shorter net name".into()
        }
        Remedy::ChooseRoot => "choose another root with --root or [node] root".into(),
        Remedy::RunAsOwner => {
            "run as the user who owns the node, or choose another root with --root or [node] root"
                .into()
        }
        Remedy::ReachSsh => "the guest needs an ssh server, on port 22 of its vsock or on an \
                             address that this host reaches; `v vm wait` waits for one, `v vm \
                             console` needs none"
            .into(),
        // Those that need no wording by this command; and those of a later version of the library.
        other => other.to_string(),
    }
}

/// What a command or an option does about an error of the configuration.
fn template_hint(error: &TemplateError) -> Option<String> {
    Some(match error {
        TemplateError::NoFile { looked } => {
            format!("write {}, or name one with --config", looked.last()?.display())
        }
        TemplateError::Read { source, .. } => match source.kind() {
            ErrorKind::NotFound => "correct the path, or omit --config and VIRSHLE_CONFIG".into(),
            ErrorKind::PermissionDenied => {
                "let this user read it, or name another one with --config".into()
            }
            _ => return None,
        },
        TemplateError::Mistakes { mistakes }
            if mistakes.iter().all(|mistake| mistake.template.is_some()) =>
        {
            "`v template check` checks the whole file".into()
        }
        TemplateError::NotFound { nearest: Some(nearest), .. } => {
            format!("did you mean {nearest:?}? `v template ls` lists all templates")
        }
        _ => return None,
    })
}

/// What a command or an option does about an error of the image cache.
fn image_hint(error: &ImageError) -> Option<String> {
    Some(match error {
        ImageError::NoSuchImage { known, .. } if known.is_empty() => {
            "there are no images yet: `v image pull debian` downloads one, `v image import FILE-OR-URL` \
             imports one"
                .into()
        }
        ImageError::NotInCatalogue { .. } => {
            let hint = error.hint().map(|hint| format!("{hint}; ")).unwrap_or_default();
            format!("{hint}`v image ls --remote` lists all")
        }
        ImageError::NoSuchImage { .. } => {
            let nearest = error.hint().map(|hint| format!("{hint} ")).unwrap_or_default();
            format!("{nearest}`v image ls` lists all images")
        }
        ImageError::ImageName { .. } => "choose a name with --name".into(),
        ImageError::ImageTaken { name } => {
            format!("choose another name with --name, or run `v image rm {name}` first")
        }
        ImageError::Unlisted { .. } => "pass the checksum itself with --sha256".into(),
        ImageError::Import { from: ImportSource::File(_), source } => match source {
            DiskError::HasBackingFile { .. } => {
                "if you trust it, --allow-backing-file makes a raw image of both".into()
            }
            DiskError::OtherFormat { .. } => KEEP.into(),
            _ => return None,
        },
        ImageError::Import { source: DiskError::OtherFormat { .. }, .. } => KEEP.into(),
        ImageError::Download { source, .. } => match source {
            DownloadError::Silent { .. }
            | DownloadError::CutShort { .. }
            | DownloadError::Broken { .. } => {
                "the same command resumes the download from here".into()
            }
            DownloadError::Unbounded => {
                "pass its checksum with --sha256 or --sha256sums, and it is compared".into()
            }
            _ => return None,
        },
        ImageError::Read { source, .. }
        | ImageError::Write { source, .. }
        | ImageError::Lock { source, .. }
            // EPERM, of a file's attributes, is one that the image crate knows more of.
            if source.kind() == ErrorKind::PermissionDenied
                && source.raw_os_error() != Some(rustix::io::Errno::PERM.raw_os_error()) =>
        {
            "run as the user who owns the node, or choose a root with --root".into()
        }
        ImageError::Write { source, .. } if source.kind() == ErrorKind::ReadOnlyFilesystem => {
            "choose another root with --root or [node] root".into()
        }
        _ => return None,
    })
}

/// What to do about an image of another format than asked for.
const KEEP: &str = "--format keep stores it unchanged";

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn every_remedy_that_names_a_machine_names_it_in_a_command() {
        let vm = || "web".to_owned();
        for remedy in [
            Remedy::StartVm { vm: vm() },
            Remedy::StopVm { vm: vm(), force: true },
            Remedy::OrByForce { vm: vm(), verb: "remove", paused: true },
            Remedy::CutPower { vm: vm() },
            Remedy::ResumeVm { vm: vm() },
            Remedy::RestartForConsole { vm: vm() },
            Remedy::ReadLogs { vm: vm() },
        ] {
            let wording = wording(&remedy);
            assert!(wording.contains("v vm ") && wording.contains(" web"), "{wording}");
        }
        assert_eq!(wording(&Remedy::Text("modprobe kvm".into())), "modprobe kvm");
    }

    #[test]
    fn an_image_error_names_the_command_that_helps() {
        let unknown = |known: &[&str]| ImageError::NoSuchImage {
            name: "debian1".into(),
            known: known.iter().map(|&name| name.to_owned()).collect(),
        };
        let file = || ImportSource::File("/a".into());
        let url = || ImportSource::Url("https://there/a".into());
        let backed =
            || DiskError::HasBackingFile { path: "/c/download".into(), backing: "/b".into() };
        let write = |kind: ErrorKind| ImageError::Write {
            path: "/c/a".into(),
            source: io::Error::from(kind),
        };
        for (error, part) in [
            (unknown(&[]), "v image import"),
            (unknown(&["debian"]), "did you mean \"debian\"? `v image ls`"),
            (unknown(&["fedora"]), "`v image ls`"),
            (ImageError::ImageTaken { name: "a".parse().unwrap() }, "`v image rm a`"),
            (ImageError::Unlisted { file: "a".into(), list: url() }, "--sha256"),
            (ImageError::Import { from: file(), source: backed() }, "--allow-backing-file"),
            (ImageError::Import { from: url(), source: backed() }, "without a backing file"),
            (
                ImageError::Download {
                    url: "https://there/a".into(),
                    source: DownloadError::CutShort { got_bytes: 1, total_bytes: 2 },
                },
                "the same command resumes",
            ),
            (write(ErrorKind::PermissionDenied), "--root"),
            (write(ErrorKind::ReadOnlyFilesystem), "[node] root"),
            (write(ErrorKind::StorageFull), "make room"),
        ] {
            let hint = hint(&CoreError::Image(error)).unwrap();
            assert!(hint.contains(part), "{hint}");
        }
    }
}
