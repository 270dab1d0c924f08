//! A node of the harness's own: a root on a filesystem of its own, a configuration, an image, and
//! two machines that nothing that is done to others may disturb.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;
use virshle_testkit::{FakeSystemd, LoopFilesystem, TestKernel, WebFile, WebServer};

use crate::audit;
use crate::machine::{Machines, named};
use crate::options::Programs;
use crate::program::{self, Outcome};
use virshle_testkit::{Failure, While, ensure};

/// How long one `v` may take for anything at all.
pub(crate) const LIMIT: Duration = Duration::from_secs(100);

/// The machine that stays stopped.
pub(crate) const KEEPER: &str = "keeper";
/// The machine that runs on.
pub(crate) const RUNNER: &str = "runner";
/// The machine that things are done to.
pub(crate) const SUBJECT: &str = "subject";
/// The bridge of the machines.
pub(crate) const BRIDGE: &str = "br0";
/// The bridge of the kernel, in the lane's namespace.
pub(crate) const KERNEL_BRIDGE: &str = "vmbr0";
/// What `node init` makes, and what it links that to.
pub(crate) const INIT_BRIDGE: &str = "br-init";
pub(crate) const UPLINK: &str = "br-up";

/// The image that `image import` imports.
pub(crate) const IMPORTED: &str = "golden";
/// The image that `image pull` pulls, by the name that it has in the cache.
pub(crate) const PULLED: &str = "remote-latest";

/// What `node setup` is tried with: the files, and where they go.
const PARTS: [(&str, &str); 2] =
    [("cloud-hypervisor-static", "bin/cloud-hypervisor"), ("firmware", "firmware/CLOUDHV.fd")];

/// Where the ids of a lane's second home begin: ports are named by them.
const OTHER_IDS: u64 = 500_000;

/// What a home's root is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Ground {
    /// XFS, where disks are reflinks.
    Xfs,
    /// tmpfs, where they are copies.
    Memory,
}

/// A node.
#[derive(Debug)]
pub(crate) struct Home {
    directory: PathBuf,
    programs: Programs,
    database: String,
    vhost: bool,
    image: Vec<u8>,
    first_id: u64,
    /// Takes what it is asked for, and does nothing: no machine is moved.
    systemd: FakeSystemd,
    /// Where images are pulled from.
    web: WebServer,
    // Dropped last: the filesystem.
    _ground: Kept,
}

#[derive(Debug)]
enum Kept {
    Xfs { _filesystem: LoopFilesystem },
    Memory { _directory: TempDir },
}

impl Home {
    /// Makes one, with its two machines; `database` is the address of Open vSwitch's.
    pub(crate) fn make(
        ground: Ground,
        programs: &Programs,
        database: &str,
        vhost: bool,
    ) -> Result<Self, Failure> {
        let failed = || format!("cannot make a filesystem ({ground:?})");
        let (directory, kept) = match ground {
            Ground::Xfs => {
                let filesystem = LoopFilesystem::xfs(512 << 20).doing(failed)?;
                (filesystem.path(), Kept::Xfs { _filesystem: filesystem })
            }
            Ground::Memory => {
                let directory = TempDir::new_in("/dev/shm").doing(failed)?;
                (directory.path().to_owned(), Kept::Memory { _directory: directory })
            }
        };
        let home = Self {
            directory,
            programs: programs.clone(),
            database: database.to_owned(),
            vhost,
            image: image(),
            first_id: if ground == Ground::Xfs { 1 } else { OTHER_IDS },
            systemd: FakeSystemd::willing().doing(|| "cannot make a bus".to_owned())?,
            web: WebServer::start().doing(|| "cannot serve images".to_owned())?,
            _ground: kept,
        };
        home.populate()?;
        home.settle()?;
        Ok(home)
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.directory.join("n")
    }

    /// The root that `node init` is tried on.
    pub(crate) fn init_root(&self) -> PathBuf {
        self.directory.join("i")
    }

    /// The root that `node setup` is tried on.
    pub(crate) fn parts_root(&self) -> PathBuf {
        self.directory.join("s")
    }

    pub(crate) fn parts_config(&self) -> PathBuf {
        self.directory.join("parts/config.toml")
    }

    /// How many of the parts that `node setup` brings are in their places. None is there but whole.
    pub(crate) fn parts_that_came(&self) -> Result<usize, Failure> {
        let mut came = 0;
        for (from, to) in PARTS {
            let to = self.parts_root().join(to);
            let Ok(found) = fs::read(&to) else { continue };
            let whole = fs::read(self.directory.join("parts").join(from))
                .doing(|| format!("cannot read {from}"))?;
            ensure!(found == whole, "{} is not whole", to.display());
            came += 1;
        }
        Ok(came)
    }

    /// The files that `node setup` takes, and the list that they are pinned by.
    fn write_parts(&self) -> Result<(), Failure> {
        let parts = self.directory.join("parts");
        let failed = || format!("cannot populate {}", parts.display());
        fs::create_dir(&parts).doing(failed)?;
        fs::copy(&self.programs.hypervisor, parts.join(PARTS[0].0)).doing(failed)?;
        fs::write(parts.join(PARTS[1].0), &self.image).doing(failed)?;
        let mut list = String::new();
        // Newer than any that is there: it is brought whatever the host has.
        for ((file, _), part) in PARTS.iter().zip(["cloud-hypervisor", "firmware"]) {
            let sum = program::tool(Command::new("sha256sum").arg(parts.join(file)))?;
            let sum = sum.split(' ').next().unwrap_or_default();
            list.push_str(&format!(
                "[[file]]\npart = \"{part}\"\nversion = \"v999.0\"\nurl = \"https://there.example/{file}\"\n\
                 sha256 = \"{sum}\"\n"
            ));
        }
        fs::write(parts.join("releases.toml"), list).doing(failed)?;
        let config = format!(
            "[node]\nroot = \"{}\"\n[network]\novsdb = \"{}\"\npasst = \"/nowhere/passt\"\n",
            self.parts_root().display(),
            self.database
        );
        fs::write(self.parts_config(), config).doing(failed)
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.directory.join("config.toml")
    }

    pub(crate) fn init_config(&self) -> PathBuf {
        self.directory.join("init.toml")
    }

    pub(crate) fn database(&self) -> &str {
        &self.database
    }

    /// Whether an id can be one of this home's machines, and not of the lane's other home.
    pub(crate) fn has_id(&self, id: u64) -> bool {
        (id >= OTHER_IDS) == (self.first_id >= OTHER_IDS)
    }

    /// What the image has to hold for ever.
    pub(crate) fn image_is_whole(&self) -> bool {
        fs::read(self.directory.join("image.raw")).is_ok_and(|now| now == self.image)
    }

    /// Whether an image is in the cache. None is there but whole.
    pub(crate) fn has_image(&self, name: &str) -> Result<bool, Failure> {
        let path = self.root().join("cache").join(name);
        let Ok(found) = fs::read(&path) else { return Ok(false) };
        ensure!(found == self.image, "{} is not whole", path.display());
        Ok(true)
    }

    /// Removes an image from the cache, and what was prepared of it.
    pub(crate) fn remove_image(&self, name: &str) -> Result<(), Failure> {
        let outcome = self.v(&["image", "rm", name])?;
        ensure!(matches!(outcome.exit, Some(0 | 3)), "v image rm {name}: {outcome}");
        Ok(())
    }

    fn populate(&self) -> Result<(), Failure> {
        let failed = || format!("cannot populate {}", self.directory.display());
        let kernels = [("halt", TestKernel::halt()), ("obeys", TestKernel::obeys())];
        for (name, kernel) in kernels {
            fs::write(self.directory.join(name), kernel.to_bytes()).doing(failed)?;
        }
        fs::write(self.directory.join("image.raw"), &self.image).doing(failed)?;
        fs::write(self.directory.join("user-data"), "#cloud-config\nhostname: x\n")
            .doing(failed)?;
        fs::create_dir(self.directory.join("home")).doing(failed)?;
        self.write_parts()?;
        self.web.put("/remote.raw", WebFile::new(self.image.clone()).etag("\"1\""));
        let sum = program::tool(Command::new("sha256sum").arg(self.directory.join("image.raw")))?;
        let remote = format!(
            "[[catalogue.image]]\nname = \"remote\"\nurl = \"{}\"\nsha256 = \"{}\"\n",
            self.web.url("/remote.raw"),
            sum.split(' ').next().unwrap_or_default()
        );
        let configuration = self.configuration(&self.root(), BRIDGE, "") + &remote;
        fs::write(self.config(), configuration).doing(failed)?;
        let uplink = format!("uplink = \"{UPLINK}\"\n");
        fs::write(self.init_config(), self.configuration(&self.init_root(), INIT_BRIDGE, &uplink))
            .doing(failed)
    }

    fn configuration(&self, root: &Path, bridge: &str, uplink: &str) -> String {
        let directory = self.directory.display();
        let mut text = format!(
            "[node]\nalias = \"torture\"\nsystemd = {:?}\nroot = \"{}\"\n\
             [network]\npasst = {:?}\novsdb = \"{}\"\nbridge = \"{bridge}\"\ndatapath = \"netdev\"\n{uplink}\
             [hypervisor]\nprogram = \"{}\"\n",
            self.systemd.socket(),
            root.display(),
            virshle_testkit::passt(),
            self.database,
            self.programs.hypervisor.display(),
        );
        let os = format!("[[template.vm.disk]]\nname = \"os\"\npath = \"{directory}/image.raw\"\n");
        let data = "[[template.vm.disk]]\nname = \"data\"\nsize = \"8M\"\n";
        let net = |kind: &str| {
            format!("[[template.vm.net]]\nname = \"main\"\n[template.vm.net.type.{kind}]\n")
        };
        let mut template = |name: &str, kernel: &str, more: &str, parts: &str| {
            text.push_str(&format!(
                "\n[[template.vm]]\nname = \"{name}\"\nvcpu = 1\nvram = \"32MiB\"\n\
                 kernel = \"{directory}/{kernel}\"\n{more}{parts}"
            ));
        };
        template("bare", "halt", "", &format!("{os}{data}"));
        template("tap", "halt", "", &format!("{os}{}", net("tap")));
        let link = format!("link = \"{KERNEL_BRIDGE}\"\n[template.vm.net.type.");
        let bridged = net("bridge").replace("[template.vm.net.type.", &link);
        template("bridge", "halt", "", &format!("{os}{bridged}"));
        template("user", "halt", "", &format!("{os}{}", net("user")));
        template("auto", "halt", "autostart = true\n", &format!("{os}{}", net("tap")));
        template("again", "halt", "restart = \"on-failure\"\n", &format!("{os}{}", net("tap")));
        template("button", "obeys", "", &format!("{os}{}", net("tap")));
        let overlay = format!("{os}clone = \"overlay\"\nsize = \"4M\"\n");
        template("seeded", "halt", &format!("user_data = \"{directory}/user-data\"\n"), &overlay);
        if self.vhost {
            template("vhost", "halt", "", &format!("{os}{}", net("vhost")));
        }
        text
    }

    /// Makes the root, the bridge and the two machines.
    fn settle(&self) -> Result<(), Failure> {
        let failed = || format!("cannot make {}", self.root().display());
        self.must(&["node", "init"])?;
        if self.first_id > 1 {
            let path = self.root().join("next-id");
            fs::write(&path, format!("{}\n", self.first_id)).doing(failed)?;
            // As `v` makes it: nothing here is open to others.
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).doing(failed)?;
        }
        self.must(&["vm", "create", "-t", "tap", "--name", KEEPER])?;
        self.must(&["vm", "create", "-t", "tap", "--name", RUNNER, "--start"])?;
        Ok(())
    }

    /// Everything anew: after a failure nothing here can be relied on.
    pub(crate) fn rebuild(&self) -> Result<(), Failure> {
        let roots = [self.root(), self.init_root()];
        for root in &roots {
            for process in audit::hypervisors(root)? {
                crate::sys::kill(process.pid);
            }
            for passt in audit::passts(root)? {
                crate::sys::kill(passt.pid);
            }
        }
        audit::remove_ports(self)?;
        for root in &roots {
            match fs::remove_dir_all(root) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(Failure::new(format!("cannot remove {}: {error}", root.display())));
                }
                _ => {}
            }
        }
        self.settle()
    }

    /// The directory of the machine `name`, whatever state it is in.
    pub(crate) fn directory_of(&self, name: &str) -> Option<PathBuf> {
        let name = format!("name = \"{name}\"");
        let entries = fs::read_dir(self.root().join("vm")).ok()?;
        entries.flatten().map(|entry| entry.path()).find(|directory| {
            let text = fs::read_to_string(directory.join("vm.toml")).unwrap_or_default();
            text.lines().any(|line| line == name)
        })
    }

    /// Removes every machine, the two as well.
    pub(crate) fn end(&self) -> Result<(), Failure> {
        self.must(&["vm", "rm", "--force", "--all"]).map(drop)
    }

    /// Removes every machine but the two.
    pub(crate) fn clear(&self) -> Result<(), Failure> {
        let machines = self.machines()?;
        let others: Vec<&str> = machines
            .values()
            .filter(|machine| machine.name != KEEPER && machine.name != RUNNER)
            .map(|machine| machine.uuid.as_str())
            .collect();
        if !others.is_empty() {
            self.must(&[&["vm", "rm", "--force"][..], &others].concat())?;
        }
        let [keeper, runner] = [KEEPER, RUNNER].map(|name| named(&machines, name));
        ensure!(keeper.is_some_and(|vm| vm.state == "stopped"), "{KEEPER}: {keeper:?}");
        ensure!(runner.is_some_and(|vm| vm.state == "running"), "{RUNNER}: {runner:?}");
        Ok(())
    }

    /// A `v` for this node, with nothing of the caller's surroundings.
    pub(crate) fn command<S: AsRef<OsStr>>(&self, args: &[S]) -> Command {
        let mut command = Command::new(&self.programs.v);
        command.args(args).env_clear().current_dir(&self.directory);
        command.env("HOME", self.directory.join("home")).env("VIRSHLE_CONFIG", self.config());
        if let Some(path) = std::env::var_os("PATH") {
            command.env("PATH", path);
        }
        command
    }

    /// Runs `v`.
    pub(crate) fn v(&self, args: &[&str]) -> Result<Outcome, Failure> {
        program::run(&mut self.command(args), LIMIT)
    }

    /// Runs `v`, which has to succeed.
    pub(crate) fn must(&self, args: &[&str]) -> Result<Outcome, Failure> {
        let outcome = self.v(args)?;
        ensure!(outcome.exit == Some(0), "v {}: {outcome}", args.join(" "));
        Ok(outcome)
    }

    /// The machines, as a reader sees them: it may not see anything broken.
    pub(crate) fn machines(&self) -> Result<Machines, Failure> {
        let outcome = self.must(&["vm", "ls", "--json"])?;
        machines(&outcome)
    }
}

impl Drop for Home {
    /// Ends what still runs here: a filesystem in use could not be unmounted.
    fn drop(&mut self) {
        for root in [self.root(), self.init_root()] {
            for process in audit::hypervisors(&root).into_iter().flatten() {
                crate::sys::kill(process.pid);
            }
            for passt in audit::passts(&root).into_iter().flatten() {
                crate::sys::kill(passt.pid);
            }
        }
    }
}

/// Reads what `v vm ls --json` wrote.
pub(crate) fn machines(outcome: &Outcome) -> Result<Machines, Failure> {
    ensure!(outcome.stderr.is_empty(), "v vm ls --json complained: {outcome}");
    let machines: Vec<crate::machine::Machine> = serde_json::from_str(&outcome.stdout)
        .doing(|| format!("v vm ls --json wrote no list of machines: {outcome}"))?;
    Ok(machines.into_iter().map(|machine| (machine.uuid.clone(), machine)).collect())
}

/// An image of 1 MiB with a hole in its middle and noise at both ends.
fn image() -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut noise = |count: usize| -> Vec<u8> {
        (0..count)
            .map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                state.to_le_bytes()[3]
            })
            .collect()
    };
    let mut image = noise(256 << 10);
    image.resize(768 << 10, 0);
    image.extend(noise(256 << 10));
    image
}
