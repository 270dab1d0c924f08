//! Known faults of cloud-hypervisor in what it does with a qcow2.

use crate::version::Version;

/// What a version of cloud-hypervisor does wrong with a qcow2 that has compressed clusters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Qcow2Fault {
    /// It can't read them, and fails only at the first read of one: the guest sees an I/O error.
    ///
    /// # References
    ///
    /// <https://github.com/cloud-hypervisor/cloud-hypervisor/issues/3727>; read since v50.0.
    #[error("it can't read compressed clusters, which the guest sees as I/O errors")]
    Unreadable,
    /// It may give clusters that are in use to new data, in an image that is written much: in
    /// silence, and for good. Images that are only read are safe.
    ///
    /// # References
    ///
    /// <https://github.com/cloud-hypervisor/cloud-hypervisor/issues/8606>, seen with v52.0.
    #[error("it may destroy the tables of an image with compressed clusters while it is written")]
    Corrupted,
}

impl Version {
    /// The first that reads compressed clusters.
    const READS_COMPRESSED: Self = Self { major: 50, minor: 0, patch: 0 };

    /// Returns what this version does wrong with a qcow2 that has compressed clusters, if that is
    /// known. One without is not affected, nor is one that was converted to raw.
    pub fn compressed_qcow2_fault(self) -> Option<Qcow2Fault> {
        if self < Self::READS_COMPRESSED {
            Some(Qcow2Fault::Unreadable)
        } else if self.major == 52 {
            Some(Qcow2Fault::Corrupted)
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_faults_are_those_of_their_versions_alone() {
        let fault = |version: &str| Version::parse(version).unwrap().compressed_qcow2_fault();
        assert_eq!(fault("v44.0"), Some(Qcow2Fault::Unreadable));
        assert_eq!(fault("v49.1.2"), Some(Qcow2Fault::Unreadable));
        assert_eq!(fault("v50.0"), None);
        assert_eq!(fault("v51.1"), None);
        assert_eq!(fault("v52.0"), Some(Qcow2Fault::Corrupted));
        assert_eq!(fault("v52.0.1-12-gabcdef"), Some(Qcow2Fault::Corrupted));
        assert_eq!(fault("v53.0"), None);
    }
}
