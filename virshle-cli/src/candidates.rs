//! What a shell can complete: the names of machines, templates and images.

use std::ffi::OsStr;
use std::path::PathBuf;

use clap_complete::engine::{ArgValueCandidates, CompletionCandidate};
use virshle_core::Node;

use crate::context;

/// Ids of machines, each with its name.
pub(crate) fn ids() -> ArgValueCandidates {
    ArgValueCandidates::new(|| machines(|id, name| with_help(id.to_string(), name)))
}

/// Names of machines.
pub(crate) fn names() -> ArgValueCandidates {
    ArgValueCandidates::new(|| machines(|_, name| CompletionCandidate::new(name)))
}

/// Uuids of machines, each with the machine's name.
pub(crate) fn uuids() -> ArgValueCandidates {
    ArgValueCandidates::new(|| {
        let vms = node().and_then(|node| node.names().ok()).unwrap_or_default();
        vms.into_iter().map(|vm| with_help(vm.uuid.to_string(), vm.name.as_str())).collect()
    })
}

/// Names of templates.
pub(crate) fn templates() -> ArgValueCandidates {
    ArgValueCandidates::new(|| {
        let Some(node) = node() else { return Vec::new() };
        let templates = node.config().templates();
        templates.map(|template| CompletionCandidate::new(&template.name)).collect()
    })
}

/// Names of images that can be pulled, each with where it is.
pub(crate) fn remote_images() -> ArgValueCandidates {
    ArgValueCandidates::new(|| {
        let Some(node) = node() else { return Vec::new() };
        let catalogue = node.catalogue();
        let images = catalogue.images();
        images.map(|image| with_help(image.reference(), &image.source.to_string())).collect()
    })
}

/// Names of templates, of images in the cache, and of those that can be pulled.
pub(crate) fn runnable() -> ArgValueCandidates {
    ArgValueCandidates::new(|| {
        let Some(node) = node() else { return Vec::new() };
        let templates = node.config().templates().map(|template| template.name.clone());
        let images = node.images().map(|listing| listing.images).unwrap_or_default();
        let images = images.into_iter().map(|image| image.name);
        let catalogue = node.catalogue();
        let remote = catalogue.images().map(|image| match image.is_default {
            true => image.name.clone(),
            false => image.reference(),
        });
        templates.chain(images).chain(remote).map(CompletionCandidate::new).collect()
    })
}

/// Names of images in the cache.
pub(crate) fn images() -> ArgValueCandidates {
    ArgValueCandidates::new(|| {
        let listing = node().and_then(|node| node.images().ok());
        let images = listing.map(|listing| listing.images).unwrap_or_default();
        images.iter().map(|image| CompletionCandidate::new(&image.name)).collect()
    })
}

fn machines(candidate: impl Fn(u64, &str) -> CompletionCandidate) -> Vec<CompletionCandidate> {
    let vms = node().and_then(|node| node.names().ok()).unwrap_or_default();
    vms.iter().map(|vm| candidate(vm.id, vm.name.as_str())).collect()
}

fn with_help(value: String, help: &str) -> CompletionCandidate {
    CompletionCandidate::new(value).help(Some(help.to_owned().into()))
}

/// The node that the command line which is being completed is about. What keeps it from being read
/// is reported when the command is run, and not into the prompt.
fn node() -> Option<Node> {
    context::open(typed("--config").as_deref(), typed("--root").or_else(context::root).as_deref())
        .ok()
}

/// The value of a global option on the command line that is being completed: it stands after the `--`
/// among the arguments of this process.
fn typed(option: &str) -> Option<PathBuf> {
    let mut words = std::env::args_os().skip_while(|word| word != "--").skip(2);
    while let Some(word) = words.next() {
        if word == OsStr::new(option) {
            return words.next().map(PathBuf::from);
        }
        let value = word.to_str().and_then(|word| word.strip_prefix(option)?.strip_prefix('='));
        if let Some(value) = value {
            return Some(value.into());
        }
    }
    None
}
