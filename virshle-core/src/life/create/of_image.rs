//! A template for an image, where the configuration need have none: a size, and a network that works.

use std::path::{Path, PathBuf};
use std::time::Duration;

use virshle_image::ImageReference;
use virshle_net::check_passt;
use virshle_template::{ByteSize, Config, DiskTemplate, NetTemplate, TemplateError, VmTemplate};

use crate::machine::node::Node;

/// The image that a machine is created from.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ImageChoice {
    /// One in the cache, or in the catalogue.
    Reference(ImageReference),
    /// A file of this host.
    File(PathBuf),
}

/// How long passt may take to say what it can do, and the switch whether it has the bridge.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The size of a machine that names none.
const DEFAULT_SIZE: &str = "xs";

/// The sizes that are known without a configuration, and the networks that a machine may get.
const BUILT_IN: &str = r#"
[[template.vm]]
name = "xs"
vcpu = 1
vram = 2
disk = [{ name = "os", size = "20G" }]
net = [{ name = "main", type = "user" }, { name = "main-tap", type = "tap" }]

[[template.vm]]
name = "s"
vcpu = 2
vram = 4
disk = [{ name = "os", size = "20G" }]
net = [{ name = "main", type = "user" }, { name = "main-tap", type = "tap" }]

[[template.vm]]
name = "m"
vcpu = 4
vram = 8
disk = [{ name = "os", size = "40G" }]
net = [{ name = "main", type = "user" }, { name = "main-tap", type = "tap" }]

[[template.vm]]
name = "l"
vcpu = 8
vram = 16
disk = [{ name = "os", size = "80G" }]
net = [{ name = "main", type = "user" }, { name = "main-tap", type = "tap" }]
"#;

impl Node {
    /// A template for a machine of `image`: of the size `size`, which is a template of the configuration or
    /// one of `xs`, `s`, `m` and `l`; and with a first disk of `disk_size`, if that is given.
    ///
    /// A template of the configuration keeps all that it says but its first disk's image. Otherwise the
    /// machine gets a network that works on this node: a port of its bridge if that has addresses, else a
    /// user network, else a port of the bridge, else none.
    ///
    /// # Errors
    ///
    /// As [`Config::template`].
    pub fn template_of_image(
        &self,
        image: &ImageChoice,
        size: Option<&str>,
        disk_size: Option<ByteSize>,
    ) -> Result<VmTemplate, TemplateError> {
        let mut template = base(self, size.unwrap_or(DEFAULT_SIZE))?;
        match template.disks.first_mut() {
            Some(disk) => of(disk, image),
            None => {
                let mut disk = built_in_disk()?;
                of(&mut disk, image);
                template.disks.push(disk);
            }
        }
        if let Some((disk, size)) = template.disks.first_mut().zip(disk_size) {
            disk.size = Some(size);
        }
        Ok(template)
    }
}

/// The names of the sizes that are known without a configuration.
pub fn built_in_sizes() -> Vec<String> {
    built_in().map_or_else(
        |_| Vec::new(),
        |config| config.templates().map(|template| template.name.clone()).collect(),
    )
}

fn built_in() -> Result<Config, TemplateError> {
    Config::from_toml(BUILT_IN, Path::new("the sizes of v"))
}

/// The template of the configuration that is called so, or else the size.
fn base(node: &Node, name: &str) -> Result<VmTemplate, TemplateError> {
    let error = match node.config().template(name) {
        Ok(template) => return Ok(template.clone()),
        Err(error) => error,
    };
    // One of that name that is wrong is no reason to take another.
    if !matches!(error, TemplateError::NotFound { .. }) {
        return Err(error);
    }
    let built_in = built_in()?;
    let mut template = built_in.template(name).map_err(|_| error)?.clone();
    template.nets = network(node, &template.nets);
    Ok(template)
}

fn built_in_disk() -> Result<DiskTemplate, TemplateError> {
    let built_in = built_in()?;
    let template = built_in.template(DEFAULT_SIZE)?;
    let disk = template.disks.first().cloned();
    disk.ok_or_else(|| TemplateError::NotFound {
        name: DEFAULT_SIZE.into(),
        known: Vec::new(),
        nearest: None,
    })
}

/// Makes `disk` one of `image`.
fn of(disk: &mut DiskTemplate, image: &ImageChoice) {
    (disk.image, disk.source) = match image {
        ImageChoice::Reference(reference) => (Some(reference.to_string()), None),
        ImageChoice::File(path) => (None, Some(path.clone())),
    };
}

/// The network that works on this node, of `offered`: a user network, and a port of the bridge. A bridge
/// that is served comes first: there machines see each other, and have names.
fn network(node: &Node, offered: &[NetTemplate]) -> Vec<NetTemplate> {
    let [user, tap] = offered else { return Vec::new() };
    let has_passt = || check_passt(&node.config().network.passt, TIMEOUT).is_ok();
    let bridged = || rustix::process::geteuid().is_root() && has_bridge(node);
    let net = if node.config().network.subnet.is_some() && bridged() {
        tap
    } else if has_passt() {
        user
    } else if bridged() {
        tap
    } else {
        return Vec::new();
    };
    let mut net = net.clone();
    net.name.clone_from(&user.name);
    vec![net]
}

fn has_bridge(node: &Node) -> bool {
    let bridge = &node.config().network.bridge;
    node.switch(TIMEOUT)
        .is_ok_and(|mut switch| switch.bridge(bridge).is_ok_and(|found| found.is_some()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(config: &str) -> Node {
        let config = Config::from_toml(config, Path::new("/c.toml")).unwrap();
        Node::new(config, Some(Path::new("/nowhere/virshle")))
    }

    #[test]
    fn an_image_has_a_size_without_a_configuration() {
        assert_eq!(built_in_sizes(), ["xs", "s", "m", "l"]);
        let node =
            node("network.passt = '/nowhere/passt'\nnetwork.ovsdb = 'unix:/nowhere/db.sock'");
        let image = ImageChoice::Reference("debian:13".parse().unwrap());
        let template = node.template_of_image(&image, None, None).unwrap();
        assert_eq!((template.name.as_str(), template.vcpus.boot), ("xs", 1));
        assert_eq!(template.disks[0].image.as_deref(), Some("debian:13"));
        assert_eq!(template.disks[0].size, Some(ByteSize::from_bytes(20 << 30)));
        // Neither passt nor a switch.
        assert!(template.nets.is_empty() && template.has_nets);
        let size = Some(ByteSize::from_bytes(5 << 30));
        let template = node.template_of_image(&image, Some("l"), size).unwrap();
        assert_eq!((template.vcpus.boot, template.disks[0].size), (8, size));
        assert!(node.template_of_image(&image, Some("xl"), None).is_err());
    }

    #[test]
    fn a_template_of_the_configuration_keeps_what_it_says() {
        let node = node(
            "[[template.vm]]\nname = 'xs'\nvcpu = 3\nvram = 1\n\
             disk = [{ name = 'root', path = '/a', size = '9G' }, { name = 'data', size = '1G' }]\n\
             [[template.vm]]\nname = 'bare'\nvcpu = 1\nvram = 1\nnet = []\n\
             [[template.vm]]\nname = 'wrong'\nvcpu = 'x'\nvram = 1\n",
        );
        let image = ImageChoice::File("/srv/golden.raw".into());
        let template = node.template_of_image(&image, None, None).unwrap();
        assert_eq!(template.vcpus.boot, 3);
        let disk = &template.disks[0];
        assert_eq!((disk.name.as_str(), &disk.source), ("root", &Some("/srv/golden.raw".into())));
        assert_eq!((template.disks.len(), disk.size), (2, Some(ByteSize::from_bytes(9 << 30))));
        let bare = node.template_of_image(&image, Some("bare"), None).unwrap();
        assert_eq!((bare.disks.len(), bare.nets.len()), (1, 0));
        let error = node.template_of_image(&image, Some("wrong"), None).unwrap_err();
        assert!(matches!(error, TemplateError::Mistakes { .. }), "{error:?}");
    }
}
