//! Looks for a firmware in the usual places.

use std::path::{Path, PathBuf};

/// The names of a firmware that boots a stock cloud image, best first, and of one that boots some.
#[cfg(target_arch = "x86_64")]
const NAMES: [&str; 2] = ["CLOUDHV.fd", "hypervisor-fw"];
#[cfg(not(target_arch = "x86_64"))]
const NAMES: [&str; 2] = ["CLOUDHV_EFI.fd", "hypervisor-fw"];

/// The directories in which people and distributions put it. `FV` is the directory of nixpkgs'
/// package.
const FOLDERS: [&str; 9] = [
    "/usr/local/share/cloud-hypervisor",
    "/usr/share/cloud-hypervisor",
    // Debian's package cloudhv-efi-x86-64.
    "/usr/share/cloudhv-efi-x86-64",
    "/run/current-system/sw/FV",
    "/run/current-system/sw/share/cloud-hypervisor",
    "/usr/share/edk2/cloud-hypervisor",
    "/usr/share/OVMF",
    "/usr/share/rust-hypervisor-firmware",
    "/opt/cloud-hypervisor",
];

/// The firmware's path, from the usual places.
///
/// `CLOUDHV.fd` (`CLOUDHV_EFI.fd` on aarch64) anywhere comes before `hypervisor-fw`, which current
/// Debian and Ubuntu images don't boot with. A file is taken as it is; what it holds isn't looked
/// at.
pub fn find_firmware() -> Option<PathBuf> {
    firmware_places().into_iter().find(|path| path.is_file())
}

/// The name of the firmware that boots a stock cloud image on this machine: `CLOUDHV.fd`, or
/// `CLOUDHV_EFI.fd` on aarch64.
pub fn own_firmware_name() -> &'static str {
    NAMES[0]
}

/// The places that [`find_firmware`] looks at, in its order.
pub fn firmware_places() -> Vec<PathBuf> {
    places(std::env::var_os("HOME").map(PathBuf::from).as_deref())
}

fn places(home: Option<&Path>) -> Vec<PathBuf> {
    let mut directories: Vec<_> = FOLDERS.iter().map(PathBuf::from).collect();
    if let Some(home) = home.filter(|home| home.is_absolute()) {
        directories.push(home.join(".nix-profile/FV"));
        directories.push(home.join(".local/share/cloud-hypervisor"));
    }
    let of_name = |name| directories.iter().map(move |directory: &PathBuf| directory.join(name));
    NAMES.into_iter().flat_map(of_name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_better_firmware_comes_first_wherever_it_is() {
        let places = places(Some(Path::new("/home/me")));
        let (first, second) = places.split_at(places.len() / 2);
        assert!(first.iter().all(|path| path.ends_with(NAMES[0])));
        assert!(second.iter().all(|path| path.ends_with("hypervisor-fw")));
        assert!(first.contains(&Path::new("/home/me/.nix-profile/FV").join(NAMES[0])));
    }
}
