//! A catalogue of images: what distributions publish, and what a node's owner adds.

mod reference;
mod table;

pub use reference::ImageReference;

use crate::catalogue::table::{ROWS, Row, UNPUBLISHED};
use crate::error::ImageError;
use crate::name::{ImageName, InvalidImageName};
use crate::request::{Expected, ImportRequest};
use crate::source::ImportSource;

/// An image of a catalogue, for the machine that this program is built for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CatalogueImage {
    /// Its name: `debian`.
    pub name: String,
    /// Its version: `13`.
    pub version: String,
    /// Other names of the version: `trixie`.
    pub aliases: Vec<String>,
    /// Where it is.
    pub source: ImportSource,
    /// Its checksum, or where that is.
    pub expected: Option<Expected>,
    /// The user whom its cloud-init creates unless told otherwise.
    pub user: Option<String>,
    /// Whether its name alone stands for it.
    pub is_default: bool,
}

impl CatalogueImage {
    /// An image that is called `reference`, whose version is `latest` unless it has one.
    pub fn new(reference: &ImageReference, source: ImportSource) -> Self {
        Self {
            name: reference.name().to_owned(),
            version: reference.version().unwrap_or(LATEST).to_owned(),
            aliases: Vec::new(),
            source,
            expected: None,
            user: None,
            is_default: false,
        }
    }

    /// What it is called by: `debian:13`.
    pub fn reference(&self) -> String {
        format!("{}:{}", self.name, self.version)
    }

    /// Its name in a cache: `debian-13`.
    ///
    /// # Errors
    ///
    /// If it is too long to be one.
    pub fn image_name(&self) -> Result<ImageName, InvalidImageName> {
        format!("{}-{}", self.name, self.version).parse()
    }

    /// The request that imports it, under its name.
    ///
    /// # Errors
    ///
    /// [`ImageError::ImageName`] if its name is too long to be one.
    pub fn request(&self) -> Result<ImportRequest, ImageError> {
        let name = self.image_name();
        let name =
            name.map_err(|source| ImageError::ImageName { name: self.reference(), source })?;
        let request = ImportRequest::new(self.source.clone()).name(name);
        Ok(match &self.expected {
            Some(expected) => request.expected(expected.clone()),
            None => request,
        })
    }

    fn is_called(&self, reference: &ImageReference) -> bool {
        let has_version = |version: &str| {
            self.version == version || self.aliases.iter().any(|one| one == version)
        };
        self.name == reference.name() && reference.version().map_or(self.is_default, has_version)
    }
}

/// The version of what has none.
const LATEST: &str = "latest";

/// Images by name and version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Catalogue {
    /// Those that were added, in their order; then those that are published.
    images: Vec<CatalogueImage>,
    added: usize,
}

impl Default for Catalogue {
    /// What distributions publish for the machine that this program is built for.
    fn default() -> Self {
        Self::of(std::env::consts::ARCH)
    }
}

impl Catalogue {
    /// What distributions publish for `architecture`, as `uname -m` has it.
    pub fn of(architecture: &str) -> Self {
        let mut catalogue = Self { images: Vec::new(), added: 0 };
        for row in ROWS.iter().filter(|row| row.architectures.contains(&architecture)) {
            let is_default = catalogue.images.iter().all(|image| image.name != row.name);
            catalogue.images.extend(published(row, architecture, is_default));
        }
        catalogue
    }

    /// Adds an image, in place of the one that is called so. The first that is added of a name is what
    /// the name alone stands for.
    pub fn add(&mut self, image: CatalogueImage) {
        let is_same = |one: &CatalogueImage| one.name == image.name && one.version == image.version;
        let at = self.images.iter().position(is_same);
        let replaced = at.map(|at| {
            self.added -= usize::from(at < self.added);
            self.images.remove(at)
        });
        let is_default = image.is_default || replaced.is_some_and(|one| one.is_default);
        let is_first = self.images.iter().all(|one| one.name != image.name);
        let image = CatalogueImage { is_default: is_default || is_first, ..image };
        if image.is_default {
            let same = self.images.iter_mut().filter(|one| one.name == image.name);
            same.for_each(|one| one.is_default = false);
        }
        self.images.insert(self.added, image);
        self.added += 1;
    }

    /// The images: those that were added, in their order, then those that are published.
    pub fn images(&self) -> impl Iterator<Item = &CatalogueImage> {
        self.images.iter()
    }

    /// The image that is called `reference`, if there is one.
    pub fn get(&self, reference: &ImageReference) -> Option<&CatalogueImage> {
        self.images.iter().find(|image| image.is_called(reference))
    }

    /// The image that is called `reference`.
    ///
    /// # Errors
    ///
    /// [`ImageError::NotInCatalogue`], with those that there are.
    pub fn find(&self, reference: &ImageReference) -> Result<&CatalogueImage, ImageError> {
        self.get(reference).ok_or_else(|| {
            let name = reference.name();
            let of_name: Vec<String> = self
                .images
                .iter()
                .filter(|image| image.name == name)
                .map(CatalogueImage::reference)
                .collect();
            let known = match of_name.is_empty() {
                true => self.names(),
                false => of_name,
            };
            let advice = UNPUBLISHED.iter().find(|(unpublished, _)| *unpublished == name);
            ImageError::NotInCatalogue {
                reference: reference.to_string(),
                known,
                advice: advice.map(|(_, advice)| *advice),
            }
        })
    }

    /// The names of its images, each once.
    fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.images.iter().map(|image| image.name.clone()).collect();
        names.dedup();
        names
    }
}

/// The image of a row, for `architecture`.
fn published(row: &Row, architecture: &str, is_default: bool) -> Option<CatalogueImage> {
    let filled = |text: &str| filled(text, architecture);
    let url = filled(row.url);
    let checksums = filled(row.checksums);
    let list = match checksums.strip_prefix('.') {
        Some(_) => format!("{url}{checksums}"),
        None => format!("{}/{checksums}", url.rsplit_once('/')?.0),
    };
    let (version, aliases) = row.versions.split_first()?;
    Some(CatalogueImage {
        name: row.name.to_owned(),
        version: (*version).to_owned(),
        aliases: aliases.iter().map(|alias| (*alias).to_owned()).collect(),
        source: ImportSource::Url(url),
        expected: Some(Expected::Listed(ImportSource::Url(list))),
        user: Some(row.user.to_owned()),
        is_default,
    })
}

/// An address with the machine's name filled in: `{arch}` as `uname -m` has it, `{debarch}` as Debian does.
pub fn filled(text: &str, architecture: &str) -> String {
    let debian = match architecture {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    text.replace("{arch}", architecture).replace("{debarch}", debian)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(catalogue: &Catalogue, reference: &str) -> String {
        let found = catalogue.find(&reference.parse().unwrap());
        found.map(CatalogueImage::reference).unwrap_or_else(|error| error.to_string())
    }

    #[test]
    fn names_and_versions_and_their_other_names_are_found() {
        let catalogue = Catalogue::of("x86_64");
        for (asked, reference) in [
            ("debian", "debian:13"),
            ("debian:13", "debian:13"),
            ("debian:bookworm", "debian:12"),
            ("ubuntu:24.04", "ubuntu:24.04"),
            ("arch", "arch:latest"),
            ("opensuse:tumbleweed", "opensuse:tumbleweed"),
        ] {
            assert_eq!(found(&catalogue, asked), reference);
        }
        assert!(found(&Catalogue::of("aarch64"), "arch").contains("no image \"arch\""));
        let error = catalogue.find(&"debian:7".parse().unwrap()).unwrap_err();
        assert!(error.hint().unwrap().contains("debian:13, debian:12"), "{error:?}");
        let error = catalogue.find(&"debain".parse().unwrap()).unwrap_err();
        assert!(error.hint().unwrap().contains("did you mean \"debian\"?"), "{error:?}");
        let error = catalogue.find(&"nixos".parse().unwrap()).unwrap_err();
        assert!(error.hint().unwrap().contains("build one"), "{error:?}");
    }

    #[test]
    fn every_row_has_an_address_a_checksum_list_and_a_name() {
        for architecture in ["x86_64", "aarch64"] {
            let catalogue = Catalogue::of(architecture);
            assert!(catalogue.images().count() >= 15);
            for image in catalogue.images() {
                let ImportSource::Url(url) = &image.source else { panic!("{image:?}") };
                assert!(url.starts_with("https://") && !url.contains('{'), "{url}");
                let Some(Expected::Listed(ImportSource::Url(list))) = &image.expected else {
                    panic!("{image:?}")
                };
                assert!(list.starts_with("https://") && !list.contains('{'), "{list}");
                assert!(image.request().unwrap().is_verified());
                assert_eq!(found(&catalogue, &image.reference()), image.reference());
            }
        }
    }

    #[test]
    fn what_is_added_comes_first() {
        let mut catalogue = Catalogue::of("x86_64");
        let own = |reference: &str| {
            let source = ImportSource::Url(format!("https://mirror.example/{reference}"));
            CatalogueImage::new(&reference.parse().unwrap(), source)
        };
        catalogue.add(own("debian:13"));
        catalogue.add(own("mine"));
        catalogue.add(own("mine:2"));
        let debian = catalogue.find(&"debian".parse().unwrap()).unwrap();
        assert_eq!(debian.source.to_string(), "https://mirror.example/debian:13");
        assert_eq!(found(&catalogue, "mine"), "mine:latest");
        let first: Vec<String> =
            catalogue.images().take(4).map(CatalogueImage::reference).collect();
        assert_eq!(first, ["debian:13", "mine:latest", "mine:2", "debian:12"]);
        assert_eq!(found(&catalogue, "mine:2"), "mine:2");
        assert_eq!(catalogue.images().filter(|image| image.name == "debian").count(), 2);
        let mut other = own("debian:14");
        other.is_default = true;
        catalogue.add(other);
        assert_eq!(found(&catalogue, "debian"), "debian:14");
    }
}
