//! The configuration: the node's settings and its templates.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::str;

use toml::de::DeTable;

use crate::caller::Caller;
use crate::catalogue::CatalogueEntry;
use crate::distrust::Distrust;
use crate::hypervisor::HypervisorSettings;
use crate::name::Names;
use crate::network::NetworkSettings;
use crate::node::NodeSettings;
use crate::section::Section;
use crate::source::Source;
use crate::suggestion::nearest;
use crate::vm::VmTemplate;
use crate::{Mistake, TemplateError};

/// The configuration of a node.
///
/// A template that is wrong does not keep the others from being used: its mistakes are reported
/// when it is asked for, and by [`mistakes`](Self::mistakes). The default is what no file at all
/// means.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Config {
    /// `[node]`.
    pub node: NodeSettings,
    /// `[network]`.
    pub network: NetworkSettings,
    /// `[hypervisor]`.
    pub hypervisor: HypervisorSettings,
    /// `[[catalogue.image]]`.
    pub catalogue: Vec<CatalogueEntry>,
    templates: Vec<VmTemplate>,
    /// The names of all templates, the wrong ones' too.
    names: Vec<String>,
    mistakes: Vec<Mistake>,
    origin: Option<PathBuf>,
    distrust: Option<Distrust>,
}

/// The largest file that is read, in bytes: a device in its place would have no end.
const MAX_FILE: u64 = 1 << 20;

impl Config {
    /// Reads the configuration in `path`. If that is a link, relative paths start at the link's
    /// directory.
    ///
    /// # Errors
    ///
    /// [`TemplateError::Read`], and [`TemplateError::Mistakes`] as [`Config::from_toml`].
    pub fn load(path: &Path) -> Result<Self, TemplateError> {
        let failed = |source| TemplateError::Read { path: path.to_owned(), source };
        let origin = std::path::absolute(path).map_err(failed)?;
        let mut bytes = Vec::with_capacity(8 << 10);
        let file = File::open(&origin).map_err(failed)?;
        // Of the open file, which is the one that is read.
        let distrust = Distrust::of(&file.metadata().map_err(failed)?);
        file.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(failed)?;
        if bytes.len() as u64 > MAX_FILE {
            let reason = "it has more than 1 MiB, which is no configuration";
            return Err(failed(io::Error::new(io::ErrorKind::FileTooLarge, reason)));
        }
        match str::from_utf8(&bytes) {
            Ok(text) => Ok(Self { distrust, ..Self::from_toml(text, &origin)? }),
            Err(error) => {
                let text = String::from_utf8_lossy(&bytes);
                let source = Source::new(&origin, &text, None);
                let at = error.valid_up_to();
                let end = at + char::REPLACEMENT_CHARACTER.len_utf8();
                source.wrong(at..end, "this is not text in UTF-8", "expected a text file");
                Err(TemplateError::Mistakes { mistakes: source.into_mistakes(&[]) })
            }
        }
    }

    /// Understands `text`, the content of the file `origin`: relative paths start at its directory,
    /// and mistakes name it. The file itself is not looked at.
    ///
    /// # Errors
    ///
    /// [`TemplateError::Mistakes`] if it isn't TOML, or anything but a template is wrong; then it
    /// has the mistakes of the templates too.
    pub fn from_toml(text: &str, origin: &Path) -> Result<Self, TemplateError> {
        let source = Source::new(origin, text, Caller::current().home);
        let (table, errors) = DeTable::parse_recoverable(text);
        for error in &errors {
            source.not_toml(error);
        }
        let mut config = Self { origin: Some(origin.to_owned()), ..Self::default() };
        if source.can_be_read() {
            config.read(Section::new(&source, "the file", table.get_ref(), 0..0));
        }
        let wrong = source.wrong_templates();
        let is_usable = errors.is_empty() && !source.has_mistakes_outside_templates();
        let mistakes = source.into_mistakes(&config.names);
        if !is_usable {
            return Err(TemplateError::Mistakes { mistakes });
        }
        let wrong: HashSet<&str> =
            wrong.iter().filter_map(|index| config.names.get(*index)).map(String::as_str).collect();
        // Of two with the same name none is right: which one is meant can't be known.
        config.templates.retain(|template| !wrong.contains(template.name.as_str()));
        config.mistakes = mistakes;
        Ok(config)
    }

    fn read(&mut self, top: Section<'_>) {
        self.node = NodeSettings::read(top.section("node", "node"));
        self.network = NetworkSettings::read(top.section("network", "network"));
        self.hypervisor = HypervisorSettings::read(top.section("hypervisor", "hypervisor"));
        self.catalogue = CatalogueEntry::read_all(top.section("catalogue", "catalogue"));
        if let Some(section) = top.section("template", "template") {
            let mut names = Names::default();
            for (index, vm) in section.sections("vm", "template.vm").into_iter().enumerate() {
                top.source.enter(Some(index));
                let (name, template) = VmTemplate::read(vm, &mut names);
                self.names.push(name);
                self.templates.extend(template);
            }
            top.source.enter(None);
            section.finish();
        }
        top.finish();
    }

    /// The template `name`.
    ///
    /// # Errors
    ///
    /// [`TemplateError::Mistakes`] if it is wrong, [`TemplateError::NotFound`] if there is none.
    pub fn template(&self, name: &str) -> Result<&VmTemplate, TemplateError> {
        if let Some(template) = self.templates().find(|template| template.name == name) {
            return Ok(template);
        }
        let of_it = |mistake: &&Mistake| mistake.template.as_deref() == Some(name);
        let mistakes: Vec<Mistake> = self.mistakes.iter().filter(of_it).cloned().collect();
        if !mistakes.is_empty() {
            return Err(TemplateError::Mistakes { mistakes });
        }
        let mut known: Vec<String> = Vec::new();
        for name in self.names.iter().filter(|name| !name.is_empty()) {
            if known.last() != Some(name) {
                known.push(name.clone());
            }
        }
        let nearest = nearest(name, known.iter().map(String::as_str)).map(ToOwned::to_owned);
        Err(TemplateError::NotFound { name: name.to_owned(), known, nearest })
    }

    /// The templates that can be used, in the file's order.
    pub fn templates(&self) -> impl Iterator<Item = &VmTemplate> {
        self.templates.iter()
    }

    /// What is wrong with the templates that can't be used, in the file's order.
    pub fn mistakes(&self) -> &[Mistake] {
        &self.mistakes
    }

    /// The file it was read from; `None` for the default.
    pub fn origin(&self) -> Option<&Path> {
        self.origin.as_deref()
    }

    /// Why root must not do as the file says that it was [read](Self::load) from, if another user
    /// could have written it. It is for the caller to heed: other users may do as they like.
    pub fn distrust(&self) -> Option<Distrust> {
        self.distrust
    }
}
