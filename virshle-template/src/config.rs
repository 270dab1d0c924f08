//! The configuration: the node's settings and its templates.

use std::path::{Path, PathBuf};

use toml::de::DeTable;

use crate::hypervisor::HypervisorSettings;
use crate::network::NetworkSettings;
use crate::node::NodeSettings;
use crate::section::{Section, Source};
use crate::suggestion::nearest;
use crate::vm::VmTemplate;
use crate::{Mistake, TemplateError};

/// The configuration of a node.
///
/// A template that is wrong does not keep the others from being used: its mistakes are told when
/// it is asked for, and by [`mistakes`](Self::mistakes).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Config {
    /// `[node]`.
    pub node: NodeSettings,
    /// `[network]`.
    pub network: NetworkSettings,
    /// `[hypervisor]`.
    pub hypervisor: HypervisorSettings,
    templates: Vec<VmTemplate>,
    mistakes: Vec<Mistake>,
    origin: Option<PathBuf>,
}

impl Config {
    /// Reads the configuration in `path`.
    ///
    /// # Errors
    ///
    /// [`TemplateError::Read`], and [`TemplateError::Mistakes`] as [`Config::from_toml`].
    pub fn load(path: &Path) -> Result<Self, TemplateError> {
        let failed = |source| TemplateError::Read { path: path.to_owned(), source };
        let path = std::path::absolute(path).map_err(failed)?;
        let text = std::fs::read_to_string(&path).map_err(failed)?;
        Self::from_toml(&text, &path)
    }

    /// Understands `text`, the content of the file `origin`: relative paths start at its folder,
    /// and mistakes name it. The file itself is not looked at.
    ///
    /// # Errors
    ///
    /// [`TemplateError::Mistakes`] if it isn't TOML, or anything but a template is wrong.
    pub fn from_toml(text: &str, origin: &Path) -> Result<Self, TemplateError> {
        let source = Source::new(origin, text);
        let (table, errors) = DeTable::parse_recoverable(text);
        for error in errors {
            let span = error.span().unwrap_or(0..0);
            source.mistake(span, error.message().trim().to_owned(), None);
        }
        let mistakes = source.take();
        if !mistakes.is_empty() {
            return Err(TemplateError::Mistakes { mistakes });
        }
        let span = 0..0;
        let top = Section::new(&source, "the file", table.get_ref(), span);
        let node = NodeSettings::read(top.section("node", "node"));
        let network = NetworkSettings::read(top.section("network", "network"));
        let hypervisor = HypervisorSettings::read(top.section("hypervisor", "hypervisor"));
        let templates = top.section("template", "template");
        let mut config =
            Self { node, network, hypervisor, origin: Some(origin.to_owned()), ..Self::default() };
        let mut names: Vec<String> = Vec::new();
        if let Some(section) = &templates {
            for vm in section.sections("vm", "template.vm") {
                // What was noted so far is not this template's.
                let outside = source.take();
                config.add(&source, vm, &mut names);
                source.put_back(outside);
            }
        }
        if let Some(section) = templates {
            section.finish();
        }
        top.finish();
        let mistakes = source.take();
        if mistakes.is_empty() { Ok(config) } else { Err(TemplateError::Mistakes { mistakes }) }
    }

    fn add(&mut self, source: &Source<'_>, section: Section<'_>, names: &mut Vec<String>) {
        let span = section.span.clone();
        let template = VmTemplate::read(section);
        if names.contains(&template.name) {
            let message = format!("a second template named {:?}", template.name);
            source.mistake(span, message, Some("each needs a name of its own".into()));
        }
        names.push(template.name.clone());
        let mistakes = source.take();
        if mistakes.is_empty() {
            self.templates.push(template);
            return;
        }
        let name = (!template.name.is_empty()).then_some(template.name);
        self.mistakes.extend(
            mistakes.into_iter().map(|mistake| Mistake { template: name.clone(), ..mistake }),
        );
    }

    /// The template `name`.
    ///
    /// # Errors
    ///
    /// [`TemplateError::Mistakes`] if it is wrong, [`TemplateError::NotFound`] if there is none.
    pub fn template(&self, name: &str) -> Result<&VmTemplate, TemplateError> {
        let mistakes: Vec<Mistake> = self
            .mistakes
            .iter()
            .filter(|mistake| mistake.template.as_deref() == Some(name))
            .cloned()
            .collect();
        if !mistakes.is_empty() {
            return Err(TemplateError::Mistakes { mistakes });
        }
        self.templates().find(|template| template.name == name).ok_or_else(|| {
            let known: Vec<String> =
                self.templates().map(|template| template.name.clone()).collect();
            let nearest = nearest(name, known.iter().map(String::as_str)).map(ToOwned::to_owned);
            TemplateError::NotFound { name: name.to_owned(), known, nearest }
        })
    }

    /// The templates that can be used, in the file's order.
    pub fn templates(&self) -> impl Iterator<Item = &VmTemplate> {
        self.templates.iter()
    }

    /// What is wrong with the templates that can't be used.
    pub fn mistakes(&self) -> &[Mistake] {
        &self.mistakes
    }

    /// The file it was read from.
    pub fn origin(&self) -> Option<&Path> {
        self.origin.as_deref()
    }
}
