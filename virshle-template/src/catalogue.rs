//! `[[catalogue.image]]`: images that can be pulled by a name, beside those that are known anyway.

use std::collections::HashMap;

use serde::Serialize;

use crate::name;
use crate::section::{Placed, Section};
use crate::suggestion::quoted;

/// `[[catalogue.image]]`: an image that can be pulled by a name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct CatalogueEntry {
    /// What it is called by: `debian:13`, or `golden`.
    pub name: String,
    /// Where it is: an address, or an absolute path. `{arch}` and `{debarch}` stand for the machine.
    pub url: String,
    /// Where its list of checksums is: an address, or an absolute path.
    pub checksums: Option<String>,
    /// Its SHA-256 or SHA-512, in hexadecimal digits.
    pub sha256: Option<String>,
    /// The user whom its cloud-init creates unless told otherwise.
    pub user: Option<String>,
    /// Its name alone, without a version, stands for it.
    pub default: bool,
}

/// How many digits the checksums have.
const DIGITS: [usize; 2] = [64, 128];

impl CatalogueEntry {
    /// The entries of `[catalogue]`. What is noted as wrong holds a value all the same.
    pub(crate) fn read_all(section: Option<Section<'_>>) -> Vec<Self> {
        let Some(section) = section else { return Vec::new() };
        let mut seen = HashMap::new();
        let sections = section.sections("image", "catalogue.image");
        let entries = sections.into_iter().map(|section| Self::read(section, &mut seen)).collect();
        section.finish();
        entries
    }

    fn read(section: Section<'_>, seen: &mut HashMap<String, usize>) -> Self {
        let name = section.require("name", "name = \"debian:13\"");
        let name = name.and_then(|_| section.string("name"));
        if let Some(name) = &name {
            name::check_reference(&section, name);
            let line = section.source.line(name.span.start);
            if let Some(first) = seen.insert(name.value.to_owned(), line) {
                let message = format!("a second image with the name {}", quoted(name.value));
                section.wrong(
                    name.span.clone(),
                    message,
                    &format!("line {first} has the first one"),
                );
            }
        }
        let url = section.require("url", "url = \"https://…/image.qcow2\"");
        let url = url.and_then(|_| place(&section, "url"));
        let checksums = place(&section, "checksums");
        let sha256 = section.string("sha256");
        if let Some(sum) = &sha256 {
            check_checksum(&section, sum);
            if section.has("checksums") {
                let help = "leave one of them away";
                let message = "an image with both a checksum and a list of them";
                section.wrong(section.span_of("sha256"), message, help);
            }
        }
        let entry = Self {
            name: name.map(|name| name.value.to_owned()).unwrap_or_default(),
            url: url.unwrap_or_default(),
            checksums,
            sha256: sha256.map(|sum| sum.value.to_owned()),
            user: section.string("user").map(|user| user.value.to_owned()),
            default: section.boolean("default").unwrap_or(false),
        };
        section.finish();
        entry
    }
}

/// An address as it is written, or a path, absolute.
fn place(section: &Section<'_>, key: &'static str) -> Option<String> {
    let text = section.string(key)?;
    let Some((scheme, _)) = text.value.split_once("://") else {
        let path = section.path_in(text.value, text.span.clone())?;
        return match path.into_os_string().into_string() {
            Ok(path) => Some(path),
            Err(_) => {
                let message = format!("{} is no path in UTF-8", quoted(text.value));
                section.wrong(text.span, message, "choose another directory");
                None
            }
        };
    };
    if !["http", "https"].contains(&scheme.to_ascii_lowercase().as_str()) {
        let message = format!("{} is not supported", quoted(&format!("{scheme}://")));
        section.wrong(text.span, message, "expected https://, http:// or a path");
        return None;
    }
    Some(text.value.to_owned())
}

fn check_checksum(section: &Section<'_>, sum: &Placed<&str>) {
    let is_hexadecimal = sum.value.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !is_hexadecimal || !DIGITS.contains(&sum.value.len()) {
        let help = "expected 64 hexadecimal digits (SHA-256), or 128 (SHA-512)";
        section.wrong(sum.span.clone(), "this is no checksum", help);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{mistakes, read};

    fn all(section: &Section<'_>) -> Option<Vec<CatalogueEntry>> {
        Some(CatalogueEntry::read_all(section.section("catalogue", "catalogue")))
    }

    #[test]
    fn an_image_has_a_name_and_a_place() {
        let sum = "0".repeat(64);
        let entries = read(
            &format!(
                "[[catalogue.image]]\nname = 'golden'\nurl = '~/golden-{{arch}}.qcow2'\nsha256 = '{sum}'\n\
                 [[catalogue.image]]\nname = 'debian:13'\nurl = 'https://mirror.example/d.qcow2'\n\
                 checksums = 'https://mirror.example/SHA512SUMS'\nuser = 'debian'\ndefault = true\n"
            ),
            all,
        )
        .unwrap();
        assert_eq!(entries[0].url, "/home/a/golden-{arch}.qcow2");
        assert_eq!((&entries[0].checksums, &entries[0].sha256), (&None, &Some(sum)));
        assert_eq!((entries[0].default, entries[1].default), (false, true));
        assert_eq!(entries[1].checksums.as_deref(), Some("https://mirror.example/SHA512SUMS"));
    }

    #[test]
    fn what_is_no_image_is_refused() {
        let sum = "0".repeat(64);
        for (text, message) in [
            ("url = 'https://a/b'", "[catalogue.image] has no \"name\""),
            ("name = 'a'", "[catalogue.image] has no \"url\""),
            ("name = 'a'\nurl = 'ftp://a/b'", "\"ftp://\" is not supported"),
            ("name = '../a'\nurl = 'https://a/b'", "\"../a\" cannot be a name: it has '/'"),
            ("name = 'a:'\nurl = 'https://a/b'", "\"a:\" cannot be a name: its version is empty"),
            ("name = 'a:b:c'\nurl = 'https://a/b'", "\"a:b:c\" cannot be a name: it has ':'"),
            ("name = 'a'\nurl = 'https://a/b'\nsha256 = '00'", "this is no checksum"),
            (
                &format!("name = 'a'\nurl = 'https://a/b'\nsha256 = '{sum}'\nchecksums = 'c'"),
                "an image with both a checksum and a list of them",
            ),
            ("name = 'a'\nurl = ''", "\"\" is no path: it is empty"),
            ("name = 'a'\nurl = 3", "\"url\" is a whole number"),
        ] {
            let text = format!("[[catalogue.image]]\n{text}");
            assert_eq!(mistakes(&text, all), [message], "{text}");
        }
        let twice = "catalogue.image = [{name = 'a', url = 'b'}, {name = 'a', url = 'b'}]";
        assert_eq!(mistakes(twice, all), ["a second image with the name \"a\""]);
    }
}
