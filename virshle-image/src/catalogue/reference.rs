//! What an image of a catalogue is called by: `debian:13`, or `debian`.

use std::fmt;
use std::str::FromStr;

use crate::name::{ImageName, InvalidImageName};

/// What an image is called by: its name, and perhaps its version, as `debian:13`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ImageReference {
    name: ImageName,
    version: Option<ImageName>,
}

impl ImageReference {
    /// The name: `debian`.
    pub fn name(&self) -> &str {
        self.name.as_str()
    }

    /// The version, if one is named: `13`.
    pub fn version(&self) -> Option<&str> {
        self.version.as_ref().map(ImageName::as_str)
    }

    /// The name in a cache of an image that is called so: `debian-13`, or `debian`.
    ///
    /// # Errors
    ///
    /// If it is too long to be one.
    pub fn image_name(&self) -> Result<ImageName, InvalidImageName> {
        match &self.version {
            None => Ok(self.name.clone()),
            Some(version) => format!("{}-{version}", self.name).parse(),
        }
    }
}

impl FromStr for ImageReference {
    type Err = InvalidImageName;

    fn from_str(text: &str) -> Result<Self, InvalidImageName> {
        let (name, version) = match text.split_once(':') {
            Some((name, version)) => (name, Some(version)),
            None => (text, None),
        };
        Ok(Self { name: name.parse()?, version: version.map(str::parse).transpose()? })
    }
}

impl fmt::Display for ImageReference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.version {
            None => formatter.pad(self.name()),
            Some(version) => formatter.pad(&format!("{}:{version}", self.name)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_is_a_name_and_perhaps_a_version() {
        for (text, name, version, image) in [
            ("debian", "debian", None, "debian"),
            ("debian:13", "debian", Some("13"), "debian-13"),
            ("ubuntu:24.04", "ubuntu", Some("24.04"), "ubuntu-24.04"),
        ] {
            let reference: ImageReference = text.parse().unwrap();
            assert_eq!((reference.name(), reference.version()), (name, version));
            assert_eq!(reference.image_name().unwrap().as_str(), image);
            assert_eq!(reference.to_string(), text);
        }
        for text in ["", ":", "a:", ":1", "a:b:c", "../a:1", "a:../b", "a b", "a:-1"] {
            assert!(text.parse::<ImageReference>().is_err(), "{text:?}");
        }
        let long: ImageReference = format!("{}:1", "a".repeat(63)).parse().unwrap();
        assert!(long.image_name().is_err());
    }
}
